'use strict';

const { setImmediate } = require('node:timers');

/** A running index run. It is a promise of the report, and an async iterable of the progress. */
class IndexRun {
  #report;
  /** The newest progress that no iteration has taken yet, or null. */
  #latest = null;
  /** Wake iterations that wait for progress or the end. */
  #waiting = [];
  #over = false;
  /** The run is awaited or iterated, so its failure is seen. */
  #observed = false;

  /** `start(report)` begins the run, calls `report(progress)` for each event and returns a promise of the run's report. */
  constructor(start) {
    const end = () => {
      this.#over = true;
      this.#wake();
    };
    this.#report = start((event) => {
      this.#latest = event;
      this.#wake();
    });
    this.#report.then(end, (error) => {
      end();
      // As with any promise, a failure that is not handled becomes an unhandled rejection.
      setImmediate(() => this.#observed || Promise.reject(error));
    });
  }

  #wake() {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  then(onFulfilled, onRejected) {
    this.#observed = true;
    return this.#report.then(onFulfilled, onRejected);
  }

  catch(onRejected) {
    this.#observed = true;
    return this.#report.catch(onRejected);
  }

  finally(onFinally) {
    this.#observed = true;
    return this.#report.finally(onFinally);
  }

  /** Gives the newest progress as it comes. Ends with the run, and throws what the run throws. */
  async *[Symbol.asyncIterator]() {
    this.#observed = true;
    for (;;) {
      if (this.#latest !== null) {
        const event = this.#latest;
        this.#latest = null;
        yield event;
      } else if (this.#over) {
        await this.#report;
        return;
      } else {
        await new Promise((resolve) => this.#waiting.push(resolve));
      }
    }
  }
}

module.exports = { IndexRun };

//! A fork-join thread pool for steps of tens of microseconds.
//!
//! The calling thread works too. A helper thread that sleeps when a step starts is woken, but the step does not wait for it
//! to wake: the step ends when its tasks are done and no helper works on one. Helpers spin briefly between steps, then
//! sleep, so an idle pool uses no processor time.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// How long a helper spins for the next step before it sleeps: longer than the gaps within a forward pass, and too short
/// to matter for power.
const SPIN: Duration = Duration::from_micros(50);

/// One step: called with the number of the worker and of the task.
type Step = dyn Fn(usize, usize) + Sync;

/// The calling thread and `threads - 1` helper threads.
pub struct Pool {
    shared: Arc<Shared>,
    helpers: Vec<std::thread::JoinHandle<()>>,
}

struct Shared {
    /// Whether a step is running. `step` and `n_tasks` are valid for helpers that incremented `inside` before they read
    /// this.
    open: AtomicBool,
    /// Helpers that may be working on the step.
    inside: AtomicUsize,
    /// Number of the next task to start.
    next: AtomicUsize,
    n_tasks: AtomicUsize,
    step: Mutex<Option<&'static Step>>,
    /// The panic of a task, to be passed on to the caller.
    panic: Mutex<Option<Box<dyn std::any::Any + Send>>>,
    /// Number of helpers that sleep.
    parked: Mutex<usize>,
    wake: Condvar,
    quit: AtomicBool,
}

impl Pool {
    /// A pool of `threads` threads, the calling one included.
    pub fn new(threads: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            open: AtomicBool::new(false),
            inside: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
            n_tasks: AtomicUsize::new(0),
            step: Mutex::new(None),
            panic: Mutex::new(None),
            parked: Mutex::new(0),
            wake: Condvar::new(),
            quit: AtomicBool::new(false),
        });
        let mut pool = Pool { shared, helpers: Vec::new() };
        for worker in 1..threads.max(1) {
            let shared = pool.shared.clone();
            let helper = std::thread::Builder::new()
                .name(format!("offheap-math-{worker}"))
                .stack_size(512 * 1024)
                .spawn(move || shared.help(worker))?;
            pool.helpers.push(helper);
        }
        Ok(pool)
    }

    /// Number of threads, the calling one included.
    pub fn threads(&self) -> usize {
        self.helpers.len() + 1
    }

    /// Calls `step(worker, i)` once for each task `i` below `n_tasks`. `worker` is less than [`Pool::threads`], and calls at
    /// the same time have different workers. A panic in a task is passed on when all threads have stopped.
    pub fn run(&mut self, n_tasks: usize, step: &(dyn Fn(usize, usize) + Sync)) {
        let shared = &*self.shared;
        if self.helpers.is_empty() || n_tasks < 2 {
            (0..n_tasks).for_each(|i| step(0, i));
            return;
        }
        // SAFETY: only the lifetime changes. This function waits below until every helper has left the step, also when a
        // task panics, so no helper uses `step` after the borrow ends.
        let step: &'static Step = unsafe { std::mem::transmute::<&(dyn Fn(usize, usize) + Sync), &'static Step>(step) };
        *shared.step.lock().expect("never poisoned: no code that panics runs while it is locked") = Some(step);
        shared.n_tasks.store(n_tasks, SeqCst);
        shared.next.store(0, SeqCst);
        shared.open.store(true, SeqCst);
        if *shared.parked.lock().expect("never poisoned") > 0 {
            shared.wake.notify_all();
        }
        shared.work(0, step);
        shared.open.store(false, SeqCst);
        // Dekker's algorithm: a helper increments `inside` before it reads `open`; this thread clears `open` before it
        // reads `inside`. So either the helper sees that the step is over, or this thread waits for it.
        while shared.inside.load(SeqCst) != 0 {
            std::hint::spin_loop();
        }
        let panic = shared.panic.lock().expect("never poisoned").take(); // a statement of its own, because unwinding while the lock is held would poison it
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.quit.store(true, SeqCst);
        drop(self.shared.parked.lock());
        self.shared.wake.notify_all();
        for helper in self.helpers.drain(..) {
            let _ = helper.join();
        }
    }
}

impl Shared {
    /// Runs tasks until none is left.
    fn work(&self, worker: usize, step: &Step) {
        let n_tasks = self.n_tasks.load(SeqCst);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            loop {
                let i = self.next.fetch_add(1, SeqCst);
                if i >= n_tasks {
                    break;
                }
                step(worker, i);
            }
        }));
        if let Err(panic) = outcome {
            self.next.store(n_tasks, SeqCst);
            *self.panic.lock().expect("never poisoned") = Some(panic);
        }
    }

    /// The loop of a helper thread.
    fn help(&self, worker: usize) {
        let mut idle_since = Instant::now();
        while !self.quit.load(SeqCst) {
            if self.open.load(SeqCst) {
                self.inside.fetch_add(1, SeqCst);
                if self.open.load(SeqCst) && self.next.load(SeqCst) < self.n_tasks.load(SeqCst) {
                    let step = self.step.lock().expect("never poisoned").expect("set before the step opened");
                    self.work(worker, step);
                    idle_since = Instant::now();
                }
                self.inside.fetch_sub(1, SeqCst);
            }
            if idle_since.elapsed() < SPIN {
                std::hint::spin_loop();
                continue;
            }
            let mut parked = self.parked.lock().expect("never poisoned");
            *parked += 1;
            while !self.open.load(SeqCst) && !self.quit.load(SeqCst) {
                parked = self.wake.wait(parked).expect("never poisoned");
            }
            *parked -= 1;
            idle_since = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_in_every_step() {
        let mut pool = Pool::new(3).expect("threads");
        for round in 0..2_000 {
            let n = round % 7;
            let ran: Vec<AtomicUsize> = (0..n).map(|_| AtomicUsize::new(0)).collect();
            pool.run(n, &|_, i| {
                ran[i].fetch_add(1, SeqCst);
            });
            assert!(ran.iter().all(|n| n.load(SeqCst) == 1), "round {round}");
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
        let mut pool = Pool::new(2).expect("threads");
        let outcome = catch_unwind(AssertUnwindSafe(|| pool.run(8, &|_, i| assert!(i != 5, "task five"))));
        assert!(outcome.is_err());
        let sum = AtomicUsize::new(0);
        pool.run(8, &|_, i| {
            sum.fetch_add(i, SeqCst);
        });
        assert_eq!(sum.load(SeqCst), 28);
    }
}

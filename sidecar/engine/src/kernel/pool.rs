//! A fork-join pool for steps of tens of microseconds.
//!
//! The caller works too. A helper that is parked when a step starts is woken, but never waited for: the step ends
//! when its jobs are done and no helper is inside it. Helpers spin briefly between steps, then park, so an idle
//! pool costs nothing.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// How long a helper looks for the next step before it parks: longer than the gaps within a forward pass,
/// far shorter than anything a person or a battery notices.
const SPIN: Duration = Duration::from_micros(50);

type Job = dyn Fn(usize, usize) + Sync;

/// A caller and `threads - 1` helpers.
pub struct Pool {
    shared: Arc<Shared>,
    helpers: Vec<std::thread::JoinHandle<()>>,
}

struct Shared {
    /// A step is open: `job`, `n_jobs` are valid for helpers that counted themselves into `inside` first.
    open: AtomicBool,
    inside: AtomicUsize,
    next: AtomicUsize,
    n_jobs: AtomicUsize,
    job: Mutex<Option<&'static Job>>,
    panic: Mutex<Option<Box<dyn std::any::Any + Send>>>,
    parked: Mutex<usize>,
    wake: Condvar,
    quit: AtomicBool,
}

impl Pool {
    /// A pool that keeps `threads` processors busy, the caller's included.
    pub fn new(threads: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            open: AtomicBool::new(false),
            inside: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
            n_jobs: AtomicUsize::new(0),
            job: Mutex::new(None),
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

    /// Threads that work, the caller included.
    pub fn threads(&self) -> usize {
        self.helpers.len() + 1
    }

    /// Runs `job(worker, i)` once for every `i` below `n_jobs`; `worker` is below [`Pool::threads`] and no two
    /// calls at the same time share one. A panic in a job is passed on when the step is over.
    pub fn run(&mut self, n_jobs: usize, job: &(dyn Fn(usize, usize) + Sync)) {
        let shared = &*self.shared;
        if self.helpers.is_empty() || n_jobs < 2 {
            (0..n_jobs).for_each(|i| job(0, i));
            return;
        }
        // SAFETY: only the lifetime changes. `close` below returns after every helper has left the step, also
        // when a job panics, so no helper sees `job` after this function's borrow of it ends.
        let job: &'static Job = unsafe { std::mem::transmute::<&(dyn Fn(usize, usize) + Sync), &'static Job>(job) };
        *shared.job.lock().expect("never poisoned: no code that panics runs under it") = Some(job);
        shared.n_jobs.store(n_jobs, SeqCst);
        shared.next.store(0, SeqCst);
        shared.open.store(true, SeqCst);
        if *shared.parked.lock().expect("as above") > 0 {
            shared.wake.notify_all();
        }
        shared.work(0, job);
        shared.open.store(false, SeqCst);
        // Dekker: a helper counts itself in before it looks at `open`, we close before we look at the count.
        while shared.inside.load(SeqCst) != 0 {
            std::hint::spin_loop();
        }
        let panic = shared.panic.lock().expect("as above").take(); // not under the lock: unwinding would poison it
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
    fn work(&self, worker: usize, job: &Job) {
        let n_jobs = self.n_jobs.load(SeqCst);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            loop {
                let i = self.next.fetch_add(1, SeqCst);
                if i >= n_jobs {
                    break;
                }
                job(worker, i);
            }
        }));
        if let Err(panic) = outcome {
            self.next.store(n_jobs, SeqCst);
            *self.panic.lock().expect("as above") = Some(panic);
        }
    }

    fn help(&self, worker: usize) {
        let mut idle_since = Instant::now();
        while !self.quit.load(SeqCst) {
            if self.open.load(SeqCst) {
                self.inside.fetch_add(1, SeqCst);
                if self.open.load(SeqCst) && self.next.load(SeqCst) < self.n_jobs.load(SeqCst) {
                    let job = self.job.lock().expect("as above").expect("set before the step opened");
                    self.work(worker, job);
                    idle_since = Instant::now();
                }
                self.inside.fetch_sub(1, SeqCst);
            }
            if idle_since.elapsed() < SPIN {
                std::hint::spin_loop();
                continue;
            }
            let mut parked = self.parked.lock().expect("as above");
            *parked += 1;
            while !self.open.load(SeqCst) && !self.quit.load(SeqCst) {
                parked = self.wake.wait(parked).expect("as above");
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
    fn every_job_runs_once_in_every_step() {
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
        let outcome = catch_unwind(AssertUnwindSafe(|| pool.run(8, &|_, i| assert!(i != 5, "job five"))));
        assert!(outcome.is_err());
        let sum = AtomicUsize::new(0);
        pool.run(8, &|_, i| {
            sum.fetch_add(i, SeqCst);
        });
        assert_eq!(sum.load(SeqCst), 28);
    }
}

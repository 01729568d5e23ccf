//! What tests share: an isolated user for each test, running commands, and talking to daemons.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use offheap_protocol::message::{Request, Response, StatusReport};
use offheap_protocol::{Client, Endpoint, connection::Payload};
use serde_json::Value;
use tempfile::TempDir;

/// How long a test waits for a single step. Only a step that is stuck takes this long, even on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The program under test. `OFFHEAP_TEST_BIN` names another build of it.
pub fn bin() -> PathBuf {
    std::env::var_os("OFFHEAP_TEST_BIN").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_offheap")), PathBuf::from)
}

/// The repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("sidecar/ is inside the repository")
}

/// The model that tests embed with: `OFFHEAP_TEST_MODEL`, or the one that the repository carries.
pub fn model() -> PathBuf {
    if let Some(model) = std::env::var_os("OFFHEAP_TEST_MODEL") {
        return PathBuf::from(model);
    }
    let dir = model_dir();
    let manifest = std::fs::read_to_string(dir.join("model.json")).expect("the repository carries a model");
    let manifest: Value = serde_json::from_str(&manifest).expect("its manifest is JSON");
    dir.join(manifest["file"].as_str().expect("its manifest names the file"))
}

fn model_dir() -> PathBuf {
    repository().join("npm/model-all-minilm-l6-v2")
}

/// An isolated user: a home, a runtime directory and a project. Dropping it kills its daemons, also when the test fails.
pub struct World {
    home: TempDir,
    run: TempDir,
    project: PathBuf,
    env: Vec<(String, Option<PathBuf>)>,
}

impl World {
    /// A user with an empty directory for a project, without `.offheap`.
    pub fn new() -> World {
        let home = tempfile::Builder::new().prefix("oh-home-").tempdir().expect("temporary directory");
        let project = home.path().canonicalize().expect("exists").join("project");
        std::fs::create_dir(&project).expect("fresh");
        World::with_project(home, project)
    }

    /// The user of another world in a second environment: another home and runtime directory, the same secret and project.
    pub fn beside(other: &World) -> World {
        let home = tempfile::Builder::new().prefix("oh-home-").tempdir().expect("temporary directory");
        let mut world = World::with_project(home, other.project.clone());
        world.set("XDG_STATE_HOME", other.home().join(".local/state"));
        world
    }

    fn with_project(home: TempDir, project: PathBuf) -> World {
        // In /tmp, because the path of a socket has a limit of about 100 bytes.
        let mut builder = tempfile::Builder::new();
        builder.prefix("oh-");
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
        let run = builder
            .tempdir_in(if cfg!(unix) { "/tmp".into() } else { std::env::temp_dir() })
            .expect("temporary directory");
        let mut world = World { home, run, project, env: Vec::new() };
        match std::env::var_os("OFFHEAP_TEST_MODEL") {
            Some(model) => world.set("OFFHEAP_MODEL", model),
            None => world.set("OFFHEAP_MODEL_DIR", model_dir()),
        }
        world
    }

    /// Sets a variable for every later command.
    pub fn set(&mut self, name: &str, value: impl Into<PathBuf>) {
        self.unset(name);
        self.env.push((name.to_owned(), Some(value.into())));
    }

    /// Removes a variable.
    pub fn unset(&mut self, name: &str) {
        self.env.retain(|(set, _)| set != name);
    }

    /// Moves the project to another place inside the home.
    pub fn move_project(&mut self, rel: &str) {
        let to = self.home.path().canonicalize().expect("exists").join(rel);
        std::fs::create_dir_all(to.parent().expect("inside the home")).expect("fresh");
        std::fs::rename(&self.project, &to).expect("one disk");
        self.project = to;
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    pub fn run_dir(&self) -> &Path {
        self.run.path()
    }

    pub fn project(&self) -> &Path {
        &self.project
    }

    pub fn data(&self) -> PathBuf {
        self.project.join(".offheap/data")
    }

    /// The place of the project's index, with this user's secret. Only after an index run.
    pub fn place(&self) -> offheap_engine::store::Place {
        let secret = std::fs::read(self.home().join(".local/state/offheap/secret")).expect("something was indexed");
        let secret = secret.try_into().expect("32 bytes");
        offheap_engine::store::Place::below(&self.project, &[".offheap", "data"], secret)
    }

    /// Writes a file of the project.
    pub fn write(&self, rel: &str, content: impl AsRef<[u8]>) {
        let path = self.project.join(rel);
        std::fs::create_dir_all(path.parent().expect("inside the project")).expect("writable");
        std::fs::write(path, content).expect("writable");
    }

    /// The project daemon's endpoint.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint::under(self.run.path().to_path_buf(), Some(self.project.clone())).expect("short")
    }

    /// An offheap command in the project, with this user's environment and no other variables.
    pub fn command<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        self.environment(bin(), args)
    }

    /// A command of another program in the project, with this user's environment and no other variables.
    pub fn environment<S: AsRef<std::ffi::OsStr>>(
        &self,
        program: impl AsRef<std::ffi::OsStr>,
        args: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = Command::new(program);
        command.args(args).current_dir(&self.project).env_clear();
        command.env("HOME", self.home.path()).env("OFFHEAP_RUNTIME_DIR", self.run.path());
        command.env("OFFHEAP_WATCH", "0"); // a background run would change what tests count
        command.envs(self.env.iter().filter_map(|(name, value)| Some((name, value.as_ref()?))));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, args: &[&str]) -> Done {
        finish(self.command(args), b"")
    }

    /// Runs a command that succeeds and prints one JSON document.
    #[track_caller]
    pub fn json(&self, args: &[&str]) -> Value {
        let done = self.run(args);
        assert_eq!(done.code, Some(0), "{args:?}: {done:?}");
        done.json()
    }

    /// Runs a command that fails with a code; gives the fault as JSON.
    #[track_caller]
    pub fn fault(&self, args: &[&str], exit: i32, code: &str) -> Value {
        let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        let done = self.run(&args);
        assert_eq!(done.code, Some(exit), "{args:?}: {done:?}");
        let error = done.json()["error"].clone();
        assert_eq!(error["code"], code, "{args:?}: {done:?}");
        assert!(done.stderr.contains(&format!("[{code}]")), "{args:?}: {done:?}");
        error
    }

    /// Starts the project's daemon and gives its process id.
    pub fn start(&self) -> u32 {
        let project = self.project.to_str().expect("UTF-8");
        self.json(&["start", "--json", "--project", project]);
        self.status()["pid"].as_u64().expect("a daemon runs") as u32
    }

    /// What the project's daemon says; null where none runs.
    pub fn status(&self) -> Value {
        let done = self.run(&["status", "--json", "--project", self.project.to_str().expect("UTF-8")]);
        if done.code == Some(3) { Value::Null } else { done.json() }
    }

    /// This user's daemons.
    #[cfg(target_os = "linux")]
    pub fn daemons(&self) -> Vec<u32> {
        let mark = [b"OFFHEAP_RUNTIME_DIR=", self.run.path().as_os_str().as_encoded_bytes(), b"\0"].concat();
        let is_ours = |pid: &u32| {
            let read = |file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            let holds = |text: &[u8], part: &[u8]| text.windows(part.len()).any(|window| window == part);
            holds(&read("environ"), &mark) && holds(&read("cmdline"), b"\0daemon\0")
        };
        let numbers = |entry: std::io::Result<std::fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse().ok();
        std::fs::read_dir("/proc").expect("Linux").filter_map(numbers).filter(is_ours).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        #[cfg(target_os = "linux")]
        self.daemons().into_iter().for_each(|pid| signal(pid, libc::SIGKILL));
        #[cfg(not(target_os = "linux"))]
        for dir in [self.project.as_path(), Path::new("/")] {
            let _ = self.command(["stop"]).current_dir(dir).output();
        }
        if std::thread::panicking() {
            for entry in std::fs::read_dir(self.run.path()).into_iter().flatten().flatten() {
                if entry.path().extension().is_some_and(|extension| extension == "log") {
                    let log = std::fs::read_to_string(entry.path()).unwrap_or_default();
                    let _ = writeln!(std::io::stderr(), "--- {}\n{log}", entry.path().display());
                }
            }
        }
    }
}

/// A command that has ended.
#[derive(Debug)]
pub struct Done {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Done {
    /// Standard output as JSON. Fails unless it is exactly one document.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Runs a command to its end, and until its pipes are closed. `input` is its standard input.
pub fn finish(mut command: Command, input: &[u8]) -> Done {
    if !input.is_empty() {
        command.stdin(Stdio::piped());
    }
    let mut guard = Guard(command.spawn().expect("the program starts"));
    let child = &mut guard.0;
    let reader = |pipe: Option<Box<dyn Read + Send>>| {
        let mut pipe = pipe.expect("piped");
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = pipe.read_to_end(&mut bytes);
            let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
        });
        receiver
    };
    let stdout = reader(child.stdout.take().map(|pipe| Box::new(pipe) as _));
    let stderr = reader(child.stderr.take().map(|pipe| Box::new(pipe) as _));
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(input);
    }
    let status = guard.wait();
    let text = |pipe: std::sync::mpsc::Receiver<String>| pipe.recv_timeout(PATIENCE).expect("the pipe is closed");
    Done { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

/// A child process that is killed when dropped.
pub struct Guard(pub Child);

impl Guard {
    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        until("the process ends", || self.0.try_wait().expect("our child"))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Polls until there is something, or fails after [`PATIENCE`].
#[track_caller]
pub fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The project's daemon in the foreground, and its ready line.
pub fn daemon(world: &World) -> (Guard, Value) {
    daemon_as(world, |_| {})
}

/// As [`daemon`], with a command that `prepare` changes first.
pub fn daemon_as(world: &World, prepare: impl FnOnce(&mut Command)) -> (Guard, Value) {
    use std::io::BufRead;
    let mut command = world.command(["daemon", "--project", world.project().to_str().expect("UTF-8")]);
    command.arg("--model-dir").arg(model_dir()); // as clients do
    prepare(&mut command);
    let mut child = Guard(command.spawn().expect("the program starts"));
    let mut stdout = std::io::BufReader::new(child.0.stdout.take().expect("piped"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("a ready line, or the end");
    let mut rest = String::new();
    // The daemon closes the pipe after the line.
    stdout.read_to_string(&mut rest).expect("the pipe is closed");
    assert_eq!(rest, "", "one line, no more");
    (child, serde_json::from_str(&line).unwrap_or(Value::Null))
}

/// Whether a process runs. A zombie does not.
#[cfg(target_os = "linux")]
pub fn alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

/// Sends a signal.
#[cfg(unix)]
pub fn signal(pid: u32, signal: i32) {
    // SAFETY: kill takes two numbers and touches no memory.
    unsafe { libc::kill(pid as i32, signal) };
}

/// Runs a seccomp program in the command and all its children, from the exec on.
#[cfg(target_os = "linux")]
pub fn filter_calls(command: &mut Command, program: Vec<libc::sock_filter>) {
    let set = move || {
        let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
        // SAFETY: the pointer is to a filter that lives until prctl returns.
        let done = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) == 0
        };
        if done { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    // SAFETY: prctl is async-signal-safe, as code between fork and exec must be.
    unsafe { std::os::unix::process::CommandExt::pre_exec(command, set) };
}

/// Whether the tests run as root, which file permissions do not restrict.
#[cfg(unix)]
pub fn is_root() -> bool {
    // SAFETY: geteuid cannot fail and touches no memory.
    unsafe { libc::geteuid() == 0 }
}

/// Runs an asynchronous test.
pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop");
    runtime.block_on(async { tokio::time::timeout(2 * PATIENCE, work).await.expect("the test is not stuck") })
}

/// A client of a running daemon.
pub async fn client(world: &World) -> Client {
    Client::connect(&world.endpoint(), "it").await.expect("a daemon runs")
}

/// The daemon's status, asked over the socket.
pub async fn status_of(client: &Client) -> StatusReport {
    let reply = client.call(Request::Status, Payload::None, Some(PATIENCE), None).await.expect("it answers");
    match reply.response {
        Response::Status(status) => *status,
        other => panic!("not a status: {other:?}"),
    }
}

/// Files that take a while to embed: one chunk each, none like another.
pub fn grow(world: &World, files: usize) {
    for i in 0..files {
        let words: String = (0..25).map(|n| format!("word{} ", (i * 7919 + n * 104_729) % 9973)).collect();
        world.write(
            &format!("src/part{:02}/file{i:03}.py", i % 20),
            format!("def function_{i}():\n    return \"{words}\"\n"),
        );
    }
}

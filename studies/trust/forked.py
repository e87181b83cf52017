"""Run a command of tomostain in a fork of this process, under limits, and record what it did.

The parent imports everything once (`warm_up`), so that a run costs the work of the command and not the import. The fork
records each attempt to start a program, to look up a name or to connect to another machine; it has its own session, and
its whole group is killed at the end.
"""

import contextlib
import importlib
import os
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

MODULES = (
    "tomostain.cli.main",
    "tomostain.demo",
    "tomostain.evaluate",
    "tomostain.inspection",
    "tomostain.phantom",
    "tomostain.prepare",
    "tomostain.register",
    "tomostain.stain",
    "tomostain.stain.volume",
    "tomostain.train",
    "tomostain.train.loop",
    "tomostain.view",
    "tomostain.view.export",
    "encodings.ascii",
    "encodings.utf_8_sig",
    "h5py",
    "hdf5plugin",
    "imagecodecs",
    "lightning_fabric",
    "matplotlib.pyplot",
    "mpl_toolkits.mplot3d",
    "nrrd",
    "openslide",
    "pandas",
    "scipy.ndimage",
    "SimpleITK",
    "skimage.metrics",
    "tifffile",
    "torch._dynamo",
    "torch.utils.tensorboard",
    "zarr",
)
# Audit events that mean: a program was started, or another machine asked for something.
FORBIDDEN = (
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.startfile",
    "pty.spawn",
    "pickle.find_class",
    "socket.getaddrinfo",
    "socket.gethostbyname",
    "socket.sendto",
    "urllib.Request",
)

GRACE_S = 10.0
"""How long after a command the processes that it started may take to end."""
TOO_EARLY = "interrupted before the command began"
_ASKING = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class Limits:
    """What a run may use.

    Attributes
    ----------
    seconds : float
        Processor time. The wall time may be thirty times as long, because other programs run too; a run that sleeps for
        two seconds is ended.
    memory_bytes : int
        Growth of the resident memory.
    address_bytes : int
        Growth of the address space. Above it, the kernel refuses memory; it protects the machine, and is not the limit
        that is judged.
    file_bytes : int or None
        Size of one file that is written (``RLIMIT_FSIZE``).
    """

    seconds: float = 10.0
    memory_bytes: int = 1 << 30
    address_bytes: int = 5 << 30
    file_bytes: int | None = None


@dataclass
class Outcome:
    """What a run did.

    Attributes
    ----------
    code : int
        The exit code; negative: the signal that ended it.
    seconds, wall : float
        Processor time and wall time.
    memory : int
        Growth of the resident memory, bytes.
    out, err : str
        What it printed.
    forbidden : list of str
        Programs started and machines asked.
    timed_out : bool
    survivors : list of str
        Command lines of processes that it started and that had not ended `GRACE_S` after it.
    """

    code: int
    seconds: float
    wall: float
    memory: int
    out: str = ""
    err: str = ""
    forbidden: list[str] = field(default_factory=list)
    timed_out: bool = False
    survivors: list[str] = field(default_factory=list)

    @property
    def lines(self) -> list[str]:
        """The lines of stderr that are not progress reports or warnings of the package itself."""
        return [line for line in self.err.splitlines() if line.strip()]


def warm_up() -> None:
    """Import what the commands import."""
    verbs = [
        f"tomostain.cli.{path.stem}" for path in (Path(__file__).parents[2] / "src/tomostain/cli").glob("[a-z]*.py")
    ]
    for name in (*MODULES, *verbs):
        try:
            importlib.import_module(name)
        except ImportError:  # an optional package
            continue


def run_command(arguments: Sequence[str], folder: Path, **options: object) -> Outcome:
    """Run a command line in a fork; `options` are those of `run_function`."""
    from tomostain.cli.main import run

    return run_function(lambda: run(["--quiet", *arguments]), folder, **options)  # type: ignore[arg-type]


def run_function(
    function: Callable[[], int],
    folder: Path,
    *,
    limits: Limits = Limits(),
    kill_after: float | None = None,
    kill_signal: int = signal.SIGKILL,
    user: int | None = None,
    log_folder: Path | None = None,
) -> Outcome:
    """Run a function in a fork.

    Parameters
    ----------
    function : callable
        Returns the exit code.
    folder : Path
        The working folder of the fork. Its output is stored next to it.
    limits : Limits
    kill_after : float, optional
        Send `kill_signal` after this wall time, seconds.
    kill_signal : int
    user : int, optional
        User to become, if this process is root.
    log_folder : Path, optional
        Where its output is stored instead.
    """
    logs = {name: (log_folder or folder.parent) / f".{folder.name}-{name}" for name in ("out", "err", "seen", "size")}
    began = time.monotonic()
    # A signal before the function begins, or after it ended, would say nothing about it: it waits.
    usual = signal.pthread_sigmask(signal.SIG_BLOCK, _ASKING)
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            _enter(folder, logs, limits, user)
            code = _called(function, usual)
            signal.pthread_sigmask(signal.SIG_BLOCK, _ASKING)
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 98
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code & 0xFF)
    signal.pthread_sigmask(signal.SIG_SETMASK, usual)
    status, usage, timed_out = _wait(pid, began, limits, kill_after, kill_signal)
    wall = time.monotonic() - began
    survivors = _survivors(pid)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)  # what it left behind
    texts = {name: path.read_text(errors="replace") if path.exists() else "" for name, path in logs.items()}
    for path in logs.values():
        path.unlink(missing_ok=True)
    return Outcome(
        code=os.waitstatus_to_exitcode(status),
        seconds=usage.ru_utime + usage.ru_stime,
        wall=wall,
        memory=max(0, usage.ru_maxrss * 1024 - int(texts["size"] or 1 << 40)),
        out=texts["out"],
        err=texts["err"],
        forbidden=texts["seen"].splitlines(),
        timed_out=timed_out,
        survivors=survivors,
    )


def _called(function: Callable[[], int], usual: set[signal.Signals]) -> int:
    """Admit the signals and call the function; a Ctrl-C that waited for it says nothing about the function."""
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, usual)
    except KeyboardInterrupt:
        print(f"tomostain: {TOO_EARLY}", file=sys.stderr)
        return 130
    return function()


def _enter(folder: Path, logs: dict[str, Path], limits: Limits, user: int | None) -> None:
    """Give the fork a separate session with its output, limits and audit hook."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what it starts with "&"
    os.chdir(folder)
    out, err, seen = (
        os.open(logs[name], os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o666) for name in ("out", "err", "seen")
    )
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (out, 1), (err, 2)):
        os.dup2(source, target)
    sys.stdin, sys.stdout, sys.stderr = (
        os.fdopen(n, mode, closefd=False) for n, mode in ((0, "r"), (1, "w"), (2, "w"))
    )
    size, resident = (int(pages) * resource.getpagesize() for pages in Path("/proc/self/statm").read_text().split()[:2])
    logs["size"].write_text(str(resident))
    if user is not None:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
    resource.setrlimit(resource.RLIMIT_AS, (size + limits.address_bytes,) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (int(limits.seconds) + 1, int(limits.seconds) + 2))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if limits.file_bytes is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limits.file_bytes,) * 2)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "pickle.find_class" and str(arguments[0]).startswith(("concurrent.futures.", "tomostain.")):
            return  # results of the processes of a registration
        if event in FORBIDDEN or (event == "socket.connect" and not _is_local(arguments[1])):
            os.write(seen, f"{event} {str(arguments)[:200]!r}\n".encode())

    sys.addaudithook(hook)


def _is_local(address: object) -> bool:
    return isinstance(address, tuple) and bool(address) and address[0] in ("127.0.0.1", "::1")


def _wait(
    pid: int, began: float, limits: Limits, kill_after: float | None, kill_signal: int
) -> tuple[int, resource.struct_rusage, bool]:
    """Wait for a fork, signal it when asked, and kill it when its time is over."""
    descriptor = os.pidfd_open(pid)
    try:
        if kill_after is not None and not _ended(descriptor, kill_after - (time.monotonic() - began)):
            _send(pid, kill_signal)
        timed_out = False
        while not timed_out and not _ended(descriptor, 2.0):
            timed_out = time.monotonic() - began > 30 * limits.seconds or _sleeps(pid)
        if timed_out:
            os.kill(pid, signal.SIGKILL)
        _, status, usage = os.wait4(pid, 0)
    finally:
        os.close(descriptor)
    return status, usage, timed_out


def _send(pid: int, number: int) -> None:
    """Send a signal to a fork; Ctrl-C also to the processes that it started, as a terminal does."""
    if number == signal.SIGINT and os.getpgid(pid) == pid:
        os.killpg(pid, number)
    else:
        os.kill(pid, number)


def _survivors(pid: int) -> list[str]:
    """Return the command lines of the processes that a fork started and that do not end."""
    until = time.monotonic() + GRACE_S
    while (members := _session(pid)) and time.monotonic() < until:
        time.sleep(0.1)
    lines = []
    for member in members:
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{member}/cmdline").read_bytes().split(b"\0")
            lines.append(b" ".join(words).decode(errors="replace").strip())
    return lines


def _ended(descriptor: int, seconds: float) -> bool:
    return bool(select.select([descriptor], [], [], max(seconds, 0))[0])


def _sleeps(pid: int) -> bool:
    """Return whether a fork waits for something that does not come: its session sleeps for two seconds."""
    before = _used(pid)
    for _ in range(20):
        time.sleep(0.1)
        if _used(pid) != before:
            return False
    return True


def _session(pid: int) -> list[int]:
    """Return the processes of the session that a process leads."""
    members = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.getsid(int(path.name)) == pid and not _is_zombie(path):
                members.append(int(path.name))
    return members


def _is_zombie(process: Path) -> bool:
    return (process / "stat").read_text().rpartition(")")[2].split()[0] == "Z"


def _used(pid: int) -> tuple[str, ...]:
    """Return state and used ticks of all threads of a process and of those that it started."""
    try:
        stats = [path.read_text() for member in _session(pid) for path in Path(f"/proc/{member}/task").glob("*/stat")]
    except (FileNotFoundError, ProcessLookupError):
        return ("ended",)
    fields = [stat.rpartition(")")[2].split() for stat in stats]
    return (
        ("runs", str(time.monotonic()))
        if any(each[0] in "RD" for each in fields)
        else tuple(f"{each[11]} {each[12]}" for each in fields)
    )

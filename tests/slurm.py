"""A SLURM of this machine alone: munge, one controller, one node, in a folder; nothing of it outlives the block."""

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.programs import Programs

SLURM = Programs(
    ("munged", "slurmctld", "slurmd", "sbatch", "srun"),
    "slurm-wlm munge",
    places="/usr/sbin:/usr/local/sbin",
    as_root=True,
)

CONFIGURATION = """
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort={controller}
SlurmdPort={node}
AuthType=auth/munge
CryptoType=crypto/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=5
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
SlurmdParameters=config_overrides
KillWait=5
SchedulerParameters=sched_interval=1,batch_sched_delay=0,bf_interval=1
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=16000 State=UNKNOWN
PartitionName=low Nodes={host} Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE
PartitionName=high Nodes={host} MaxTime=INFINITE State=UP PriorityTier=2 PreemptMode=OFF
"""
"""A job that was requeued waits for as long as credentials hold: 5 s is the least."""


@dataclass(frozen=True)
class Slurm:
    """A running one: `environment` is what its programs need."""

    folder: Path
    environment: dict[str, str]

    def call(self, *command: str, cwd: Path | None = None) -> str:
        """What one of its programs says."""
        done = subprocess.run(command, env=self.environment, cwd=cwd, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout.strip()

    def submit(self, *options: str, cwd: Path) -> str:
        """The number of a job."""
        return self.call("sbatch", "--parsable", *options, cwd=cwd)

    def about(self, job: str) -> dict[str, str]:
        """What the controller knows of a job."""
        words = self.call("scontrol", "--oneliner", "show", "job", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def until(self, is_there: Callable[[], bool], what: str, seconds: float = 60) -> None:
        """Wait for something; the controller tells nobody, so it is asked."""
        until = time.monotonic() + seconds
        while not is_there():
            assert time.monotonic() < until, f"waited for {what}"
            time.sleep(0.1)

    def wait(self, job: str, is_there: Callable[[dict[str, str]], bool], seconds: float = 120) -> dict[str, str]:
        """What is known of a job once it is what it should be."""
        self.until(lambda: is_there(self.about(job)), f"job {job}", seconds)
        return self.about(job)

    def ended(self, job: str, seconds: float = 120) -> dict[str, str]:
        """What is known of a job once it is over."""
        over = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY")
        return self.wait(job, lambda about: about["JobState"] in over, seconds)


@contextmanager
def slurm(folder: Path) -> Iterator[Slurm]:
    """It runs until the block ends, and its jobs with it."""
    folder.chmod(0o755)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    host = socket.gethostname().split(".")[0]
    controller, node = _free_ports(2)
    configuration = folder / "slurm.conf"
    configuration.write_text(CONFIGURATION.format(host=host, folder=folder, controller=controller, node=node))
    environment = {**os.environ, "SLURM_CONF": str(configuration), "PATH": SLURM.path}
    here = Slurm(folder, environment)
    munge = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
    munge.append(f"--socket={folder}/munge.sock")
    with ExitStack() as daemons:
        daemons.enter_context(_daemon(here, ["munged", "--foreground", "--force", *munge]))
        here.until(lambda: (folder / "munge.sock").exists(), "munged")
        daemons.enter_context(_daemon(here, ["slurmctld", "-D"]))
        daemons.enter_context(_daemon(here, ["slurmd", "-D", "-N", host]))
        daemons.callback(_emptied, here)
        here.until(lambda: _says(here, "sinfo", "--noheader", "--format=%T", "--partition=low") == "idle", "slurmctld")
        yield here


@contextmanager
def _daemon(here: Slurm, command: Sequence[str]) -> Iterator[None]:
    program = SLURM.find(command[0])
    assert program is not None
    with (here.folder / f"{command[0]}.log").open("wb") as log:
        process = subprocess.Popen(
            [program, *command[1:]],
            env=here.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _emptied(here: Slurm) -> None:
    """Cancel all jobs, and wait for what they started."""
    with suppress(AssertionError):
        here.call("scancel", "--user", "root", "--full")
    here.until(lambda: _says(here, "squeue", "--noheader", "--format=%A") == "", "its jobs to end", 30)


def _says(here: Slurm, *command: str) -> str | None:
    done = subprocess.run(command, env=here.environment, capture_output=True, text=True, timeout=60)
    return done.stdout.strip() if done.returncode == 0 else None


def _free_ports(n: int) -> list[int]:
    """Ports that nobody has, for daemons that cannot be given port 0."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]

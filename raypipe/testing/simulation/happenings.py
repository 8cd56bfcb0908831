"""What happens to a world: people who ask, edit, cancel and stop; processes that die, freeze and come back; bad disks."""

from __future__ import annotations

from collections.abc import Callable

from raypipe.core.plan import Scope
from raypipe.core.window import Window
from raypipe.destinations.memory_state import OPEN
from raypipe.errors import RaypipeError
from raypipe.runtime.open_runs import open_runs
from raypipe.testing.simulation.ask import Ask
from raypipe.testing.simulation.baton import Party
from raypipe.testing.simulation.promise import Promise
from raypipe.testing.simulation.rows import HOUR_US
from raypipe.testing.simulation.stage import SimulatedStage
from raypipe.testing.simulation.world import World

WIDTH_MAX = 4  # hours
STARTS_STEPS = 60  # within so many steps all that is asked for starts: so that it meets
FEW_PROCESSES = 3
PROCESSES_MAX = 7
SILENCE_S = 130.0  # longer than the heartbeat limit: a process that was frozen so long may be taken over without force
_SCOPES = (*[Scope.DUE] * 5, *[Scope.ALL] * 5, *[Scope.HELD] * 2, Scope.GAPS, Scope.FAILED, Scope.STALE)


def prepare(world: World) -> None:
    """Give a world its first files, what is asked of it, and what happens to it; each seed has its own mixture."""
    r = world.random
    for _ in range(r.randint(1, 3)):
        world.source.change("add")
    for place in range(r.randint(2, 4)):
        world.start_at(0 if place == 0 else r.randrange(STARTS_STEPS), lambda: made_up_ask(world))
    mixture = [(share * r.choice((0.0, 0.5, 1.0, 2.0)), event) for share, event in HAPPENINGS]

    def happens() -> bool:
        point = r.random()
        for share, event in mixture:
            point -= share
            if point < 0:
                event(world)
                return True
        return False

    world.happens = happens


def made_up_ask(world: World) -> Ask:
    """Return what somebody may ask for, with a configuration that may be an older one."""
    r = world.random
    scope = r.choice(_SCOPES)
    start = r.randrange(world.hours)
    window = Window(start * HOUR_US, r.randint(start + 1, world.hours) * HOUR_US) if scope is Scope.ALL else None
    return Ask(
        scope=scope,
        window=window,
        width=r.randint(1, WIDTH_MAX),
        atomic=scope is Scope.ALL and r.random() < 0.5,
        accept_shrunk=r.random() < 0.25,
        lateness_us=world.lateness_us,
        rules=world.rules if r.random() < 0.8 else r.choice(world.older_rules),
    )


def made_up_acceptance(world: World) -> Ask:
    """Return what somebody may say of live ranges that differ from what a run would make."""
    return Ask(
        accept=world.random.choice(("stale", "stale", "shrunk")), width=world.random.randint(1, WIDTH_MAX),
        lateness_us=world.lateness_us, rules=world.rules,
    )  # fmt: skip


def made_up_compaction(world: World) -> Ask:
    """Return what somebody may ask for to be compacted."""
    r = world.random
    return Ask(
        compact_before_us=r.randint(2, world.hours) * HOUR_US, cell_by_cell=r.random() < 0.3, width=r.randint(2, WIDTH_MAX),
        rules=world.rules,
    )  # fmt: skip


# ---- people -----------------------------------------------------------------------------------------------


def change_source(world: World) -> None:
    """Files come, change and go."""
    world.tell(f"the source changes: {world.source.change()}")
    world.laws.source_changed()


def change_rules(world: World) -> None:
    """Somebody edits the pipeline, or goes back to what it was."""
    r = world.random
    part = r.choice(world.rules._fields)
    changed = world.rules._replace(**{part: getattr(world.rules, part) + 1})
    world.rules = r.choice(world.older_rules) if r.random() < 0.2 else changed
    world.older_rules.append(world.rules)
    world.tell(f"the pipeline is {world.rules} now")
    if len(world.running) < FEW_PROCESSES and r.random() < 0.5:  # whoever edits a pipeline runs it
        world.start_at(world.steps + r.randrange(10), lambda: made_up_ask(world))


def compact(world: World) -> None:
    """Somebody makes one live range of old ones."""
    if world.laws.state.live and len(world.running) < PROCESSES_MAX:
        world.start(made_up_compaction(world))


def accept(world: World) -> None:
    """Somebody says that live ranges may stay as they are."""
    if world.laws.state.live and len(world.running) < PROCESSES_MAX:
        world.start(made_up_acceptance(world))


def cancel(world: World) -> None:
    """Somebody cancels an open run, or all."""
    runs = [run for run, record in world.laws.state.runs.items() if record.state in OPEN]
    if runs:
        for run_id in world.way_to_destination(Promise(0)).cancel(world.random.choice([None, *runs])):
            world.tell(f"{run_id} is cancelled")


def signal(world: World) -> None:
    """Somebody presses Ctrl-C, and perhaps again."""
    if world.running:
        process, _ = world.random.choice(list(world.running.values()))
        process.stop.at_once = process.stop.signal is not None
        process.stop.signal = "SIGINT"
        world.tell(f"{process.holder} is told to stop")


def collect(world: World) -> None:
    """Somebody collects garbage."""
    if world.others:
        return
    party = Party("gc")
    world.others.append(party)

    def body() -> None:
        destination = world.way_to_destination(Promise(0))
        try:
            stage = SimulatedStage(world.disk, world.pause)
            stage.collect(lambda: open_runs(destination, world.dead_holders.__contains__))
        except RaypipeError:
            return
        finally:
            world.others.remove(party)

    world.baton.start(party, body)


# ---- machines ---------------------------------------------------------------------------------------------


def kill(world: World) -> None:
    """Kill a process. Its launcher lives and starts another for the same run, or somebody asks again."""
    if not world.running:
        return
    r = world.random
    party = r.choice(list(world.running))
    process, executor = world.running.pop(party)
    party.killed = True
    world.frozen.pop(party, None)
    executor.drop()
    world.tell(f"{process.holder} is killed")
    at = world.steps + r.randrange(40)
    if r.random() < 0.5:
        world.start_at(at, lambda: process.ask, process.run_id, force=True)
    else:
        world.dead_holders.add(process.holder)
        if r.random() < 0.6:
            world.start_at(at, lambda: process.ask)


def freeze(world: World) -> None:
    """Freeze a process; most often another takes its run over before it comes back."""
    awake = [party for party in world.running if party not in world.frozen]
    if not awake or len(world.running) >= PROCESSES_MAX:
        return
    r = world.random
    party = r.choice(awake)
    process, _ = world.running[party]
    world.frozen[party] = world.steps + r.randint(8, 100)
    world.tell(f"{process.holder} is frozen")
    if r.random() < 0.5:
        world.clock.now_s += SILENCE_S
    if r.random() < 0.8:
        world.start_at(world.steps + r.randrange(12), lambda: process.ask, process.run_id, force=r.random() < 0.7)


def damage(world: World) -> None:
    """A file on the disk goes bad."""
    complete = [name for name, folder in world.disk.folders.items() if folder.manifest]
    if complete:
        folder = world.random.choice(complete)
        world.disk.damage(folder, world.random)
        world.tell(f"a file of {folder} goes bad")


def lose_index(world: World) -> None:
    """The cache of what files hold is gone, or an entry of it."""
    world.index.forget(world.random)


def lose_claims(world: World) -> None:
    """Claims are gone: they are there for fairness only."""
    if world.claims.kept:
        world.claims.forget()
        world.tell("claims are lost")


def arrive(world: World) -> None:
    """Something that was sent long ago arrives."""
    if world.network.under_way:
        world.network.deliver()
        world.tell("something arrives late")


def pass_time(world: World) -> None:
    """Another hour of history is ready, and the clock leaps."""
    world.ready_hours = min(world.hours, world.ready_hours + 1)
    world.clock.now_s += world.random.choice((1.0, 30.0, SILENCE_S))


HAPPENINGS: tuple[tuple[float, Callable[[World], None]], ...] = (
    (0.070, change_source),
    (0.020, change_rules),
    (0.025, compact),
    (0.020, accept),
    (0.008, lose_index),
    (0.008, lose_claims),
    (0.008, kill),
    (0.012, freeze),
    (0.003, cancel),
    (0.003, signal),
    (0.012, collect),
    (0.012, damage),
    (0.030, arrive),
    (0.015, pass_time),
)
"""How likely each is at a step, before a seed makes its own mixture of them."""

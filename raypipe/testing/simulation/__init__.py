"""The simulation: raypipe's own decisions over a simulated world, every schedule from one seed, every law checked at every step.

What is real: the driver with its settler, scanner and coordinator, the compactor, the acceptor, the planner, `make_plan` and
`replan`, `decide_commit` and the memory destination around it, `decide_claim` and how a run claims, the rules of staged work,
fingerprints, intervals, replay, and what of a file belongs to a shard. What is simulated: the source, the disk, the network,
the clock, workers, and people. One thread stands for each process, and one runs at a time: wherever a process touches anything
that others see, another may go on, or it may die.

`world` says whose turn it is, `happenings` what goes wrong, `laws`, `commit_laws` and `claim_laws` what must hold, `settle` how
it must end, and `mutants` which mistakes must be seen. `python -m raypipe.testing.simulation` plays.
"""

from __future__ import annotations

from raypipe.testing.simulation.play import Played, play, play_all

__all__ = ["Played", "play", "play_all"]

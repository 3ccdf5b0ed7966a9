"""What was seen: which proof ran which snippet, how far, on what and when.

levels.py        how far a snippet was proven, in four words
running.py       what the running proof loads and runs
ledger.py        which proof ran which snippet, at which digest, on which stack
stored.py        how a ledger lies in its file
cpu.py           what running took
digests.py       every digest that a snippet has had
seen.py          which proofs were seen to fail under their controls
measurements.py  what was measured: numbers with their intervals
summary.py       what proofs ran on, in a few words or in full

A proof needs three functions of it: `evidence.load`, `evidence.ran` and `evidence.on`.
"""

from proven.evidence.running import load, on, ran

__all__ = ["load", "on", "ran"]

"""Tests of the wire grammars; no I/O."""

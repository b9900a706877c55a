//! Decisions, without any server: SPEC's worked cases, its boundaries, and what must hold for all inputs.

//! Decisions, without any server: SPEC's worked cases, its boundaries, and what must hold for all inputs.

mod choice;
mod conditions;
mod connections;
mod events;
mod fingerprints;
mod forecasts;
mod histories;
mod okr_status;
mod passes;
mod properties;
mod rollups;
mod schedule;
mod verdicts;
mod world;

//! What the calendar does to the clock.

//! What the data is and what it means: readings, Brownian paths, steps, and the state in between.
//!
//! Pure: nothing here is async or looks at a clock, the environment, a file or a socket, and nothing
//! logs. It imports nothing of ours, so every rule of the data can be tested as a value.

pub mod dead_letter;
pub mod device;
pub mod event_time;
mod json;
pub mod noise;
pub mod normal;
pub mod reading;
pub mod slots;
pub mod source;
pub mod state;
pub mod step;
pub mod window;

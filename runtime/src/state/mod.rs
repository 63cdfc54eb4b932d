//! What is known of each container, under the state root.

pub mod id;
pub mod time;

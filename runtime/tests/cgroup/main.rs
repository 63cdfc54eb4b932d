//! cgroups for real: limits that bite, on the hierarchy of the machine that this runs on. Needs root.
//!
//! Each test of a limit prints `hierarchy: v1` or `hierarchy: v2`, by where the controller is bound.

mod devices;
mod life;
mod limits;
mod scope;
mod support;
mod told;

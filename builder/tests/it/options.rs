//! The options of `cooper build`: what each changes of a real build.

mod limits;
mod steps;

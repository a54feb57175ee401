//! The options of `cooper build`: what each changes of a real build.

mod image;
mod limits;
mod steps;

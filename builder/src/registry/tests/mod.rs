mod auth;
mod misbehaviour;
mod pull;
mod push;

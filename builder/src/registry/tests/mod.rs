mod auth;
mod pull;
mod push;

mod pull;

"""Whether a suite's items occur in a pool, looked at before anything is trained."""

"""Records to answers: tables with Rel., cost and OSC, and the time-versus-score plot."""

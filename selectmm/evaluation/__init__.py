"""Benchmarks: questions, answers by the model, scores."""

"""Take results elsewhere: a tuned model as a Hugging Face folder, a subset as somebody else's data set.

`model` merges an adapter into its base, `card` says what it is, and `template` writes the prompt of its training;
`subset` writes rows in a format of `formats`, and `note` says what they are. `folder` makes either appear whole or not
at all.
"""

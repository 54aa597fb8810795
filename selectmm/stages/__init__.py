"""What the stages of a run have in common: how one that takes several processes starts them."""

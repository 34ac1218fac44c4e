"""Architecture facts, and the reference decoder that they drive."""

"""The scheduler: which tokens the next step computes, for whom, in which slots."""

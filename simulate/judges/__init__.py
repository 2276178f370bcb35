"""Who judges a rehearsal: by committed rows, by what meters counted, by a book of its own. Floor: simulate; all walks.

`court` calls the judges together, `sight` is how they look, `convergence` is what the second phase waits for. Apart
from the product and from the faults on purpose: a mistake in either is not shared by whoever judges it.
"""

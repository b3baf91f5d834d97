"""Steps that run as one, or in less memory: each rule is a file. Which layers it takes, they promise themselves.

A rule gives the same numbers, gradients and stored blobs as the layers one by one. It looks at a Draft, and joins
what it finds; earlier rules come first.
"""

from collections.abc import Callable

from sdcaffe.net.draft import Draft
from sdcaffe.net.fusions.affine_norm import scale_norms
from sdcaffe.net.fusions.folded_norm import fold_norms
from sdcaffe.net.fusions.in_place_relu import rectify_in_place
from sdcaffe.net.fusions.in_place_sum import sum_in_place

Rule = Callable[[Draft], None]

RULES: tuple[Rule, ...] = (fold_norms, scale_norms, sum_in_place, rectify_in_place)

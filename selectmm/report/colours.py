"""One colour and one marker per method, the same in every picture and on every page.

A method's name decides both, whatever else is on the picture: the methods of this repository have fixed places in
`KNOWN`, any other name gets one from its checksum. With six colours and eleven markers there are 66 different pairs.
"""

import hashlib
from dataclasses import dataclass

# Okabe and Ito's palette, which stays apart under the common colour blindnesses; black and grey are the references'.
PALETTE = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "<", ">", "p", "d")  # as matplotlib calls them
INK = "#000000"  # the full run's colour; dark pages show their own text colour instead
REFERENCES = {"full": (INK, "*"), "random": ("#767676", "o")}

# Six to a line, because a line uses each colour once: what often stands on one picture stands on one line. New methods
# go to the end, so that no other method changes its colour.
KNOWN = (
    *("prism", "scalselect", "tive", "dataprophet", "rds_plus", "el2n"),
    *("grand", "ifd", "length", "perplexity", "less", "icons"),
    *("oracle", "prism/global", "prism/high", "prism/medium", "prism/per_vector", "prism/uncentred"),
    *("scalselect/deep", "prism/deep", "prism/middle", "prism/joint", "prism/last_token", "by_source"),
    *("scalselect/middle", "one_source", "tive/difficulty_only", "tive/influence_only", "tive/sharp", "clip_score"),
    *("self_sup", "coincide", "scalselect/all_image_tokens", "scalselect/uncentred", "semdedup", "d2_pruning"),
    *("magic", "dics", "visnec", "self_filter", "self_sup/easy", "self_sup/hard"),
    *("datatailor", "once_select", "presel", "xmas", "from_scores", "from_indices"),
    *("adapt_inf", "vds3"),
    # Runs that select during training, as records name them.
    *("delta_loss", "rho_loss", "loss", "reselect+rds_plus", "reselect+length", "infobatch+random"),
)


@dataclass(frozen=True)
class Style:
    """How a method looks: ``colour`` as ``#RRGGBB``, ``marker`` as matplotlib calls it. Both tell it apart."""

    colour: str
    marker: str


def style_of(method: str) -> Style:
    """The method's colour and marker; always the same for the same name."""
    if method in REFERENCES:
        return Style(*REFERENCES[method])
    place = KNOWN.index(method) if method in KNOWN else _checksum(method)
    return Style(PALETTE[place % len(PALETTE)], MARKERS[(1 + place) % len(MARKERS)])


def _checksum(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4]) % (len(PALETTE) * len(MARKERS))

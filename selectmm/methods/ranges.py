"""Types of numbers that an option may be; `selectmm.instantiate` refuses others before anything is computed."""

from typing import Annotated

from annotated_types import Ge, Gt, Interval

Count = Annotated[int, Ge(1)]
Positive = Annotated[float, Gt(0)]
NotNegative = Annotated[float, Ge(0)]
AtLeastOne = Annotated[float, Ge(1)]
Share = Annotated[float, Interval(gt=0, le=1)]
ShareOrNone = Annotated[float, Interval(ge=0, le=1)]
ShareBelowOne = Annotated[float, Interval(ge=0, lt=1)]
BelowHalf = Annotated[float, Interval(ge=0, lt=0.5)]
Percentile = Annotated[float, Interval(ge=0, le=100)]

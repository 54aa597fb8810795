"""Which full runs a sweep leaves out: one is the reference of all seeds, if its cost matters more than its spread."""

from omegaconf import DictConfig, ListConfig

from selectmm.errors import UserError


def left_out(config: DictConfig, method: str) -> bool:
    """Whether a job of a sweep is a full run of a seed that ``full_seeds`` does not name.

    Args:
        config: of the job. method: the name by which its method was chosen.

    Raises:
        UserError: ``full_seeds`` is neither null nor a list of whole numbers.
    """
    seeds = config.get("full_seeds")
    if seeds is None:
        return False
    if not isinstance(seeds, ListConfig) or not seeds or not all(type(seed) is int for seed in seeds):
        raise UserError(f"full_seeds is '{seeds}', but should be a list of seeds, such as [0], or null for all.")
    return method == "full" and config.seed not in seeds

"""Items of the benchmarks in configs/benchmark, and how long questions and answers are.

How many items a split has is published; the numbers here were written from memory and not compared. Lengths of prompts
and answers are assumptions, and a plan says so.
"""

from dataclasses import dataclass

ASSUMED = (
    "lengths of prompts; answers of a word or a letter: 5 tokens; of a sentence (MM-Vet, LLaVA-W): 200; MMLU-Pro's "
    "reasoning: 1,024, half of its cap, because a batch goes on until its longest answer ends"
)


@dataclass(frozen=True)
class TaskSize:
    """One task.

    Attributes:
        items: of its split. source: of that number.
        prompt: tokens of an item without its image, template and examples included; an assumption.
        said: tokens that a batch of answers takes to decode; an assumption. 0: options are scored, not spoken.
        image: whether an item shows one. options: sequences that are read per item.
        parts: tasks that it consists of in its harness, which takes ``suite.limit`` items of each.
    """

    items: int
    source: str
    prompt: int
    said: int = 5
    image: bool = True
    options: int = 1
    parts: int = 1


TASKS: dict[str, TaskSize] = {
    "scienceqa": TaskSize(4_241, "ScienceQA, test split (arXiv 2209.09513)", 180),
    "scienceqa_img": TaskSize(2_017, "ScienceQA, test items with an image (arXiv 2310.03744)", 180),
    "vizwiz_vqa_val": TaskSize(4_319, "VizWiz, validation split (vizwiz.org)", 70),
    "pope": TaskSize(9_000, "lmms-lab/POPE: three settings of 3,000", 60),
    "pope_pop": TaskSize(3_000, "lmms-lab/POPE, popular", 60),
    "pope_random": TaskSize(3_000, "lmms-lab/POPE, random", 60),
    "pope_adv": TaskSize(3_000, "lmms-lab/POPE, adversarial", 60),
    "mmvet_asked": TaskSize(218, "MM-Vet (arXiv 2308.02490)", 70, 200),
    "mmvet_matched": TaskSize(218, "MM-Vet (arXiv 2308.02490)", 70, 200),
    "mmbench_en_dev_static": TaskSize(4_329, "lmms-lab/MMBench, en, dev split, rotations included", 140),
    "mmbench_cn_dev_static": TaskSize(4_329, "lmms-lab/MMBench, cn, dev split, rotations included", 160),
    "mme": TaskSize(2_374, "MME (arXiv 2306.13394)", 60),
    "mme_total": TaskSize(2_374, "MME (arXiv 2306.13394)", 60),
    "mmmu_val": TaskSize(900, "MMMU, validation split (arXiv 2311.16502)", 180),
    "ai2d": TaskSize(3_088, "AI2D, test split (lmms-lab/ai2d)", 100),
    "ocrbench": TaskSize(1_000, "OCRBench (arXiv 2305.07895)", 60),
    "ocrbench_mean": TaskSize(1_000, "OCRBench (arXiv 2305.07895)", 60),
    "seedbench": TaskSize(17_990, "lmms-lab/SEED-Bench: 14,233 on images, 3,757 on videos", 110),
    "gqa": TaskSize(12_578, "GQA, balanced test-dev split (arXiv 1902.09506)", 65),
    "textvqa_ocr": TaskSize(5_000, "TextVQA, validation split (arXiv 1904.08920)", 120),
    "vqav2_val": TaskSize(214_354, "VQAv2, validation split (visualqa.org)", 65),
    "llava_w_asked": TaskSize(60, "LLaVA-Bench in the wild (arXiv 2304.08485)", 70, 200),
    "chartqa": TaskSize(2_500, "ChartQA, test split (arXiv 2203.10244)", 70),
    "docvqa_val": TaskSize(5_349, "DocVQA, validation split (arXiv 2007.00398)", 65),
    "infovqa_val": TaskSize(2_801, "InfographicVQA, validation split (arXiv 2104.12756)", 65),
    "realworldqa": TaskSize(765, "RealWorldQA, test split (xai-org/RealworldQA)", 90),
    "hallusion_bench_static": TaskSize(951, "HallusionBench, questions with an image (lmms-lab/HallusionBench)", 80),
    "naturalbench_groups": TaskSize(7_600, "NaturalBench, 1,900 groups of four questions (arXiv 2410.14669)", 70),
    "cmmmu_val_once": TaskSize(900, "CMMMU, validation split (arXiv 2401.11944)", 200),
    "hellaswag": TaskSize(10_042, "HellaSwag, validation split (arXiv 1905.07830)", 110, 0, image=False, options=4),
    "mmlu": TaskSize(14_042, "MMLU, test split (arXiv 2009.03300)", 130, 0, image=False, options=4, parts=57),
    "mmlu_pro": TaskSize(12_032, "MMLU-Pro, test split (arXiv 2406.01574)", 1_500, 1_024, image=False, parts=14),
}

"""The published severity tables, typed once more from the papers' code."""

import pytest
from robustvideo.benchmark.core import registry

SINGLE = [
    ("gaussian_noise", "imagenet-c-224", (0.08, 0.12, 0.18, 0.26, 0.38)),
    ("gaussian_noise", "tiny-64", (0.04, 0.08, 0.12, 0.15, 0.18)),
    ("shot_noise", "imagenet-c-224", (60, 25, 12, 5, 3)),
    ("shot_noise", "tiny-64", (250, 100, 50, 30, 15)),
    ("shot_noise", "yi2021", (60, 25, 12, 5, 3)),
    ("shot_noise", "rose2022", (250, 100, 50, 30, 15)),
    ("shot_noise", "schiappa2023", (250, 100, 50, 30, 15)),
    ("impulse_noise", "imagenet-c-224", (0.03, 0.06, 0.09, 0.17, 0.27)),
    ("impulse_noise", "tiny-64", (0.01, 0.02, 0.05, 0.08, 0.14)),
    ("speckle_noise", "imagenet-c-224", (0.15, 0.2, 0.35, 0.45, 0.6)),
    ("speckle_noise", "tiny-64", (0.15, 0.2, 0.25, 0.3, 0.35)),
    ("speckle_noise", "rose2022", (0.15, 0.2, 0.25, 0.3, 0.35)),
    ("speckle_noise", "schiappa2023", (0.15, 0.2, 0.25, 0.3, 0.35)),
    ("gaussian_blur", "imagenet-c-224", (1, 2, 3, 4, 6)),
    ("gaussian_blur", "tiny-64", (0.5, 0.75, 1, 1.25, 1.5)),
    ("gaussian_blur", "rose2022", (0.5, 0.75, 1, 1.25, 1.5)),
    ("contrast", "imagenet-c-224", (0.4, 0.3, 0.2, 0.1, 0.05)),
    ("contrast", "yi2021", (0.5, 0.4, 0.3, 0.2, 0.1)),
    ("brightness", "imagenet-c-224", (0.1, 0.2, 0.3, 0.4, 0.5)),
    ("jpeg_compression", "imagenet-c-224", (25, 18, 15, 10, 7)),
    ("jpeg_compression", "tiny-64", (65, 58, 50, 40, 25)),
    ("pixelate", "imagenet-c-224", (0.6, 0.5, 0.4, 0.3, 0.25)),
    ("pixelate", "tiny-64", (0.9, 0.8, 0.7, 0.6, 0.5)),
    ("h264_crf", "yi2021", (23, 30, 37, 44, 51)),
    ("h265_crf", "yi2021", (27, 33, 39, 45, 51)),
    ("h264_abr", "yi2021", (2, 4, 8, 16, 32)),
    ("h265_abr", "yi2021", (2, 4, 8, 16, 32)),
    ("bit_error", "yi2021", (100000, 50000, 30000, 20000, 10000)),
    ("mpeg2", "rose2022", (20, 40, 60, 80, 100)),
    ("mpeg4", "rose2022", (15, 30, 45, 60, 75)),
    ("jumble", "rose2022", (32, 16, 8, 4, 2)),
    ("box_jumble", "rose2022", (4, 9, 16, 25, 36)),
    ("frame_rate", "yi2021", (20, 16, 12, 9, 6)),
    ("temporal_blur", "yi2021", (3, 5, 7, 9, 11)),
    ("sampling", "rose2022", (2, 4, 8, 16, 32)),
    ("static_rotate", "rose2022", (7.5, 15, 30, 45, 90)),
]

SEVERAL = [
    ("defocus_blur", "imagenet-c-224", ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))),
    ("defocus_blur", "tiny-64", ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1))),
    ("motion_blur", "imagenet-c-224", ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))),
    ("motion_blur", "tiny-64", ((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3))),
    ("glass_blur", "imagenet-c-224", ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2))),
    ("glass_blur", "tiny-64", ((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2))),
    ("frost", "imagenet-c-224", ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))),
    ("frost", "tiny-64", ((1, 0.3), (0.9, 0.4), (0.8, 0.45), (0.75, 0.5), (0.7, 0.55))),
    ("fog", "imagenet-c-224", ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4))),
    ("fog", "tiny-64", ((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75))),
    ("saturate", "imagenet-c-224", ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2))),
    ("saturate", "tiny-64", ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2))),
    (
        "snow",
        "imagenet-c-224",
        (
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
    ),
]


@pytest.mark.parametrize(("name", "table", "published"), SINGLE + SEVERAL)
def test_published_numbers(name, table, published):
    corruption = registry.resolve("corruption", name, table=table).create()
    for severity, numbers in enumerate(published, start=1):
        ours = corruption.setting(severity)
        assert tuple(ours) == numbers if isinstance(numbers, tuple) else ours == numbers

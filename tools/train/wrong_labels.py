"""Rows whose label is wrong by eye, found among the surest wrong answers (tools/quantize/wrong_labels.py).

Who looks only where a net disagrees finds no label that is wrong and agreed with, so these rows count in every figure
of accuracy. They are left out of the choice of the abstain band only, where a handful of them, answered surely and
rightly, would say that no net may ever be believed; and of the generated street.
"""

WRONG_LABELS = {
    "adi_e66440dac3_4": "labelled mask, bare",
    "adi_e66440dac3_5": "labelled mask, bare behind another head",
    "adi_ca3dfe1f23_0": "labelled no_mask, masked",
    "maksssksksss518_29": "labelled mask, bare",
    "maksssksksss633_0": "labelled mask, no face: lanterns",
    "kagglecovid_00335": "labelled mask, bare",
    "kaggle12k_03405": "labelled mask, three people in one crop",
    "concordia_b_00115": "labelled no_mask, mask on the chin",
    "concordia_b_00237": "labelled no_mask, mask on the chin",
    "concordia_b_00899": "labelled no_mask, mask on the chin",
    "concordia_b_01163": "labelled no_mask, mask on the chin",
}

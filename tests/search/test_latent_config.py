from __future__ import annotations

import pytest

from wmhub.errors import InvalidInputError
from wmhub.search.latent_config import LatentSearchConfig


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="exploration"):
        LatentSearchConfig(exploration=1.5)
    with pytest.raises(InvalidInputError, match="greedy"):
        LatentSearchConfig(greedy=-0.1)
    with pytest.raises(InvalidInputError, match="shortlist"):
        LatentSearchConfig(shortlist=0)

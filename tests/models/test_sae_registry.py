"""SAELens' packaged registry, read without SAELens, against SAELens' own reading."""

import subprocess
import sys

from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

from ray_autointerp.models.sae_registry import releases


def test_registry_is_what_saelens_reads() -> None:
    theirs = get_pretrained_saes_directory()
    ours = releases()
    assert len(ours) > 100
    assert {name: (r.subject, set(r.sae_ids)) for name, r in ours.items()} == {
        name: (entry.model, set(entry.saes_map)) for name, entry in theirs.items()
    }


def test_registry_is_read_without_importing_saelens() -> None:
    code = (
        "import sys; from ray_autointerp.models.sae_registry import releases; "
        "assert releases(); assert not {'sae_lens', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

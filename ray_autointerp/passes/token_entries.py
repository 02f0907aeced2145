"""Promoted and suppressed lists as the tables hold them: token id, text, logit, z-score."""

from ray_autointerp.methods.token_lists import TokenLists
from ray_autointerp.models.tokenizer import SubjectTokenizer
from ray_autointerp.runs.tables import Row


def token_entries(lists: TokenLists, tokenizer: SubjectTokenizer) -> list[list[Row]]:
    """The lists of all rows, each in its order; fetched from their device together."""
    ids_BK, logits_BK = lists.ids_BK.tolist(), lists.logits_BK.tolist()
    z_BK = [[None] * len(ids) for ids in ids_BK] if lists.z_BK is None else lists.z_BK.tolist()
    return [
        [
            {"token": token, "text": text, "logit": logit, "z": z}
            for token, text, logit, z in zip(ids, tokenizer.texts(ids), logits, zs, strict=True)
        ]
        for ids, logits, zs in zip(ids_BK, logits_BK, z_BK, strict=True)
    ]

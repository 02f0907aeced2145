"""Promoted and suppressed lists as the tables hold them: token id, text, logit, z-score."""

from ray_autointerp.methods.token_lists import TokenLists
from ray_autointerp.models.tokenizer import SubjectTokenizer
from ray_autointerp.runs.tables import Row


def token_entries(lists: TokenLists, row: int, tokenizer: SubjectTokenizer) -> list[Row]:
    """One row of the lists, in its order."""
    ids = lists.ids_BK[row].tolist()
    logits = lists.logits_BK[row].tolist()
    z = [None] * len(ids) if lists.z_BK is None else lists.z_BK[row].tolist()
    return [
        {"token": token, "text": text, "logit": logit, "z": score}
        for token, text, logit, score in zip(ids, tokenizer.texts(ids), logits, z, strict=True)
    ]

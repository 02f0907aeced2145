"""Small tokenizers that cut characters into several tokens, as those of most models do."""

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import bytes_to_unicode

from ray_autointerp.models.tokenizer import SubjectTokenizer

SPECIALS = [AddedToken(text, special=True) for text in ("<s>", "</s>", "<|user|>", "<|end|>")]
"""BOS, EOS, and a chat template's two others."""


def _subjects(made: Tokenizer) -> SubjectTokenizer:
    return SubjectTokenizer(
        PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>")
    )


def byte_level(*merges: tuple[bytes, bytes]) -> SubjectTokenizer:
    """As GPT-2's: every byte is a token, and what merges say."""
    spelt = bytes_to_unicode()
    words = [tuple("".join(spelt[b] for b in part) for part in merge) for merge in merges]
    vocab = {char: i for i, char in enumerate(spelt.values())}
    for left, right in words:
        vocab.setdefault(left + right, len(vocab))
    made = Tokenizer(models.BPE(vocab=vocab, merges=words))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(SPECIALS)
    return _subjects(made)


def byte_fallback() -> SubjectTokenizer:
    """As Llama's and Gemma's: letters and spaces are tokens, all else is bytes."""
    letters = "\u2581abcdefghijklmnopqrstuvwxyz\ufffd"
    names = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    vocab = {name: i for i, name in enumerate(names)}
    made = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>", byte_fallback=True))
    made.normalizer = normalizers.Replace(" ", "\u2581")
    made.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    made.add_special_tokens(SPECIALS)
    return _subjects(made)


GPT2 = byte_level(
    (b" ", b"\xf0"),
    (b" \xf0", b"\x9f"),
    (b"\x98", b"\x80"),
    (b"\xe4", b"\xb8"),
    (b"\xd9", b"\x85"),
    (b"\xad", b"\xe6"),
)
"""A space goes with half of an emoji, and one token ends a character and begins another."""
LLAMA = byte_fallback()

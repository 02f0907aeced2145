"""What answers cost: requests, tokens and engine seconds, summed over a task, a step or a run."""

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Usage:
    """Sums over answers that were paid for; what was remembered costs nothing again."""

    num_requests: int = 0
    num_prompt_tokens: int = 0
    """Of all prompts, cached or not."""
    num_cached_tokens: int = 0
    """Prompt tokens read from the prefix cache."""
    num_generated_tokens: int = 0
    engine_seconds: float = 0.0
    """Seconds of one engine, shared evenly among the requests in flight."""

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.num_requests + other.num_requests,
            self.num_prompt_tokens + other.num_prompt_tokens,
            self.num_cached_tokens + other.num_cached_tokens,
            self.num_generated_tokens + other.num_generated_tokens,
            self.engine_seconds + other.engine_seconds,
        )

    def larger(self, other: "Usage") -> "Usage":
        """The larger of two sums of the same answers, each of which may lack some."""
        return Usage(
            **{
                field.name: max(getattr(self, field.name), getattr(other, field.name))
                for field in fields(self)
            }
        )

    @property
    def num_tokens(self) -> int:
        """Prompt and generated tokens together: what `budget.max_tokens` bounds."""
        return self.num_prompt_tokens + self.num_generated_tokens

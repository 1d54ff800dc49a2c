"""Agent profiles, their versions, and what their models do not take."""

from typing import Any, Self

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _
from uuid_utils.compat import uuid7

from accounts.models import User
from sessions_app.models.sessions import WhatsAppSession
from whatsapp_agent.text.validators import validate_emoji

DEFAULT_INSTRUCTIONS = (
    "You answer messages on WhatsApp for the owner of this number. Be friendly, brief and exact; write the way people "
    "write in a chat, in the language you are written to in. When you do not know something, say so."
)

DEFAULT_FALLBACK_TEXT = "Sorry, I cannot answer right now. Your message has arrived, and we will get back to you."
DEFAULT_VOICE_FALLBACK_TEXT = "Sorry, I cannot listen to voice messages right now. Could you please write it?"
DEFAULT_TOOLS = ("remember", "search_messages", "hand_off")


def default_tools() -> list[str]:
    return list(DEFAULT_TOOLS)


def default_debounce_s() -> float:
    return settings.AGENT_DEBOUNCE_S


def default_debounce_max_s() -> float:
    return settings.AGENT_DEBOUNCE_MAX_S


def validate_loop_limit(value: int) -> None:
    """Refuse 1 and 2, which no conversation could stay below; 0 turns a limit off."""
    if value in {1, 2}:
        raise ValidationError(_("Must be 0 (off) or at least 3."))


class AgentProfileQuerySet(models.QuerySet["AgentProfile"]):
    def live(self) -> Self:
        """Leave out drafts."""
        return self.filter(draft_of=None)

    def visible_to(self, user: Any) -> Self:
        """Return the profiles of the sessions the user may see, without drafts; all for administrators."""
        if user.is_authenticated and user.sees_everything:
            return self.live()
        return self.live().filter(pk__in=WhatsAppSession.objects.visible_to(user).values("agent_profile"))


class AgentProfile(models.Model):
    """Who answers, and how: name, instructions, model, tools and limits."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(_("name"), max_length=100)
    draft_of = models.OneToOneField(
        "self", null=True, blank=True, editable=False, on_delete=models.CASCADE, related_name="draft"
    )  # of a draft: the profile that it becomes when it is published; see `sessions_app.drafts`
    purpose = models.CharField(
        _("purpose"), max_length=200, blank=True, help_text=_("For staff: what this agent is for.")
    )
    instructions = models.TextField(_("instructions"), default=DEFAULT_INSTRUCTIONS)
    model = models.CharField(_("model"), max_length=100, blank=True, help_text=_("Empty: OPENAI_MODEL."))
    temperature = models.FloatField(
        _("temperature"), null=True, blank=True, validators=[MinValueValidator(0), MaxValueValidator(2)]
    )
    history_tokens = models.PositiveIntegerField(
        _("history tokens"),
        default=4000,
        validators=[MinValueValidator(200)],
        help_text=_("Tokens of the history that is shown to the model."),
    )
    max_output_tokens = models.PositiveIntegerField(
        _("max output tokens"), null=True, blank=True, help_text=_("Empty: the model's own limit.")
    )
    debounce_s = models.FloatField(
        _("debounce s"),
        default=default_debounce_s,
        validators=[MinValueValidator(0), MaxValueValidator(300)],
        help_text=_("How long to wait for more messages before answering, in seconds. 0: not at all."),
    )
    debounce_max_s = models.FloatField(
        _("debounce max s"),
        default=default_debounce_max_s,
        validators=[MinValueValidator(0), MaxValueValidator(600)],
        help_text=_("The longest wait for more messages before answering, in seconds."),
    )
    max_answer_age_s = models.PositiveIntegerField(
        _("max answer age s"),
        default=600,
        help_text=_("A message older than this when it arrives, in seconds, is stored and not answered."),
    )
    takeover_s = models.PositiveIntegerField(
        _("takeover s"),
        default=3600,
        help_text=_(
            "How long the agent stays silent after a person wrote, in seconds. 0: until it is released by hand."
        ),
    )
    loop_repeats = models.PositiveSmallIntegerField(
        _("loop repeats"),
        default=5,
        validators=[validate_loop_limit, MaxValueValidator(50)],
        help_text=_("The agent is paused when nearly the same text arrives this often. 0: never."),
    )
    loop_fast_replies = models.PositiveSmallIntegerField(
        _("loop fast replies"),
        default=12,
        validators=[validate_loop_limit, MaxValueValidator(150)],
        help_text=_("The agent is paused after this many messages in a row that no person types so fast. 0: never."),
    )
    loop_max_turns = models.PositiveSmallIntegerField(
        _("loop max turns"),
        default=30,
        validators=[validate_loop_limit, MaxValueValidator(150)],
        help_text=_(
            "The most answers in one conversation within `loop_window_s`; then the agent is paused. 0: no limit."
        ),
    )
    loop_window_s = models.PositiveIntegerField(
        _("loop window s"),
        default=300,
        validators=[MinValueValidator(1), MaxValueValidator(3600)],
        help_text=_("For `loop_max_turns`, in seconds."),
    )
    loop_pause_s = models.PositiveIntegerField(
        _("loop pause s"),
        default=3600,
        validators=[MaxValueValidator(365 * 24 * 3600)],
        help_text=_("How long a loop pauses the agent, in seconds. 0: until it is released by hand."),
    )
    marks_read = models.BooleanField(
        _("marks read"),
        default=False,
        help_text=_("The contact sees that their message was read, once the agent writes its answer."),
    )
    shows_typing = models.BooleanField(
        _("shows typing"),
        default=True,
        help_text=_("The contact sees that somebody is typing while the agent writes. On cloud it marks as read, too."),
    )
    instant_reaction = models.CharField(
        _("instant reaction"),
        max_length=16,
        blank=True,
        default="",
        db_default="",
        validators=[validate_emoji],
        help_text=_("An emoji put at once on the first message that is going to be answered, like 👀. Empty: none."),
    )
    answers_with_voice = models.BooleanField(
        _("answers with voice"),
        default=False,
        db_default=False,
        help_text=_("A voice note is answered by a voice note, spoken by OPENAI_SPEECH_MODEL."),
    )
    fallback_text = models.TextField(
        _("fallback text"),
        blank=True,
        default=DEFAULT_FALLBACK_TEXT,
        help_text=_("Sent once when the model does not answer. Empty: nothing is sent."),
    )
    voice_fallback_text = models.TextField(
        _("voice fallback text"),
        blank=True,
        default=DEFAULT_VOICE_FALLBACK_TEXT,
        help_text=_("Sent when a voice note cannot be transcribed. Empty: the model answers without its text."),
    )
    missed_call_text = models.TextField(
        _("missed call text"),
        blank=True,
        default="",
        db_default="",
        help_text=_("Sent once after each missed call. Empty: nothing is sent."),
    )
    tools = models.JSONField(
        _("tools"),
        default=default_tools,
        blank=True,
        help_text=_("Names of the tools that the model may call. Empty: none."),
    )
    has_knowledge = models.BooleanField(default=False, db_default=False, editable=False)  # see `messaging.knowledge`
    is_default = models.BooleanField(
        _("is default"), default=False, help_text=_("Used by numbers that are linked without naming a profile.")
    )
    version = models.PositiveIntegerField(_("version"), default=1, editable=False)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    updated_at = models.DateTimeField(_("updated at"), auto_now=True)

    objects = AgentProfileQuerySet.as_manager()

    class Meta:
        verbose_name = _("agent profile")
        verbose_name_plural = _("agent profiles")
        constraints = [
            models.UniqueConstraint(
                fields=["name"],
                condition=models.Q(draft_of=None),
                name="profile_name_once",
                violation_error_message="A profile with this name exists already.",
            ),
            models.UniqueConstraint(
                fields=["is_default"], condition=models.Q(is_default=True), name="one_default_profile"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class AgentProfileVersion(models.Model):
    """The values of a profile in one version. A turn stores the number of the version that it used."""

    profile = models.ForeignKey(AgentProfile, on_delete=models.CASCADE, related_name="versions")
    version = models.PositiveIntegerField()
    values = models.JSONField()
    message = models.CharField(max_length=200, blank=True, default="", db_default="")
    changed_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-version"]
        constraints = [models.UniqueConstraint(fields=["profile", "version"], name="profile_version_once")]

    def __str__(self) -> str:
        return f"{self.profile} {self.version}"


class ModelLimit(models.Model):
    """A parameter or feature that a model was found not to support: see `agent.llm.capabilities`."""

    address = models.CharField(_("address"), max_length=500, help_text=_("URL of the model server, without secrets."))
    model = models.CharField(_("model"), max_length=200)
    name = models.CharField(_("name"), max_length=40)
    value = models.JSONField(_("value"))
    found_at = models.DateTimeField(_("found at"))

    class Meta:
        verbose_name = _("model limit")
        verbose_name_plural = _("model limits")
        constraints = [models.UniqueConstraint(fields=["address", "model", "name"], name="model_limit_once")]

    def __str__(self) -> str:
        return f"{self.model}: {self.name}"

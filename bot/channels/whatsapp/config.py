"""What the owner gives to connect a WhatsApp number: ids and secrets from Meta's app dashboard."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

DIGITS = r"^[0-9]{5,32}$"


class WhatsAppConfig(BaseModel):
    """One WhatsApp Business number. The token is best that of a system user, with the permissions
    `whatsapp_business_messaging` and `whatsapp_business_management`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    phone_number_id: str = Field(
        pattern=DIGITS, title="Phone number id", description="App dashboard → API setup"
    )
    business_account_id: str = Field(
        pattern=DIGITS, title="WhatsApp Business account id", description="App dashboard → API setup"
    )
    access_token: SecretStr = Field(min_length=8, max_length=1024, title="Access token")
    app_secret: SecretStr = Field(
        min_length=8, max_length=256, title="App secret", description="Signs deliveries"
    )
    verify_token: SecretStr = Field(
        min_length=8,
        max_length=256,
        title="Verify token",
        description="A word of yours, given to Meta as well",
    )
    phone_number: str = Field(
        default="",
        pattern=r"^(\+[1-9][0-9]{6,14})?$",
        title="Phone number",
        description="With + and country code, for links to it",
    )
    messages_per_second: int = Field(
        default=80,
        ge=1,
        le=1000,
        title="Messages a second",
        description="80; 1000 where Meta raised it, 20 beside the phone app",
    )
    api_version: str = Field(
        default="",
        pattern=r"^(v[0-9]{1,3}\.[0-9])?$",
        title="Graph API version",
        description="Empty: the setting's",
    )

    @field_validator("access_token", "app_secret", "verify_token", mode="before")
    @classmethod
    def _pasted(cls, secret: object) -> object:
        """Blanks around a pasted secret go; inside it they are a mistake that no header could carry."""
        if not isinstance(secret, str):
            return secret
        secret = secret.strip()
        if not secret.isascii() or not secret.isprintable() or " " in secret:
            raise ValueError("must be printable ASCII without blanks")
        return secret

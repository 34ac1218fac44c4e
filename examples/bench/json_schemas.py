"""Twelve schemas as applications send them, each with what the model is asked; every document ends."""

from __future__ import annotations

from typing import Any


def text(most: int = 24, **more: Any) -> dict[str, Any]:
    return {"type": "string", "minLength": 1, "maxLength": most, **more}


def whole(low: int, high: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": low, "maximum": high}


def array(items: dict[str, Any], low: int, high: int) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": low, "maxItems": high}


def record(**properties: Any) -> dict[str, Any]:
    """An object that has all of these and nothing else."""
    return {
        "type": "object", "properties": properties, "required": list(properties), "additionalProperties": False,
    }  # fmt: skip


YES = {"type": "boolean"}
CURRENCY = {"enum": ["EUR", "USD", "GBP", "JPY"]}
DATE = {"type": "string", "format": "date"}

TASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "person": (
        "Invent a person.",
        record(first_name=text(16), last_name=text(16), age=whole(18, 99), email_address=text(32), is_active=YES),
    ),
    "sentiment": (
        "Judge this review: the screen is bright, but the battery is weak.",
        record(
            sentiment={"enum": ["positive", "neutral", "negative", "mixed"]},
            confidence_percent=whole(0, 100),
            mentioned_aspects=array({"enum": ["screen", "battery", "price", "speed"]}, 1, 3),
        ),
    ),
    "address": (
        "Give the address of a museum in Paris.",
        record(street=text(), house_number=whole(1, 999), postal_code=text(8), city=text(16), country_code=text(2)),
    ),
    "invoice": (
        "Write an invoice for two books.",
        record(
            invoice_number=whole(1000, 99999),
            issue_date=DATE,
            currency=CURRENCY,
            line_items=array(record(description=text(), quantity=whole(1, 20), unit_price=whole(1, 200)), 2, 2),
            is_paid=YES,
        ),
    ),
    "weather_call": (
        "Call the weather tool for Berlin.",
        record(
            name={"const": "get_current_weather"},
            arguments=record(location=text(20), unit={"enum": ["celsius", "fahrenheit"]}, include_forecast=YES),
        ),
    ),
    "calendar": (
        "Plan a meeting about the budget.",
        record(
            title=text(32),
            start_time=text(16),
            duration_minutes=whole(15, 240),
            attendees=array(record(name=text(16), is_required=YES), 1, 3),
            location={"anyOf": [text(16), {"type": "null"}]},
        ),
    ),
    "product": (
        "Describe a chair that a shop sells.",
        record(
            product_id=whole(1, 99999),
            product_name=text(),
            price=record(amount=whole(1, 5000), currency=CURRENCY),
            dimensions=record(width_cm=whole(1, 300), height_cm=whole(1, 300), depth_cm=whole(1, 300)),
            tags=array(text(10), 1, 4),
        ),
    ),
    "extraction": (
        "Extract the facts: Marie Curie was born in Warsaw in 1867 and won two Nobel prizes.",
        record(subject=text(), birth_place=text(16), birth_year=whole(1000, 2025), number_of_prizes=whole(0, 9)),
    ),
    "recipe": (
        "Write a recipe for pancakes.",
        record(
            recipe_name=text(),
            servings=whole(1, 12),
            ingredients=array(record(name=text(14), amount=whole(1, 1000), unit={"enum": ["g", "ml", "pieces"]}), 2, 4),
            steps=array(text(48), 2, 3),
        ),
    ),
    "log_entry": (
        "Write a log entry of a failed login.",
        record(
            timestamp=text(20),
            severity_level={"enum": ["debug", "info", "warning", "error"]},
            source_component=text(16),
            message=text(48),
            http_status_code=whole(100, 599),
        ),
    ),
    "settings": (
        "Give sensible settings of a web server.",
        record(
            server=record(host_name=text(20), port=whole(1, 65535), use_tls=YES),
            logging=record(level={"enum": ["debug", "info", "warning"]}, retention_days=whole(1, 365)),
            limits=record(max_connections=whole(1, 10000), timeout_seconds=whole(1, 600)),
        ),
    ),
    "quiz": (
        "Write one question about the sun, with four answers.",
        record(
            question=text(60),
            possible_answers=array(text(20), 4, 4),
            correct_answer_index=whole(0, 3),
            difficulty={"enum": ["easy", "medium", "hard"]},
        ),
    ),
}

"""The bundled FSDP trainer, which reads nothing but an order."""

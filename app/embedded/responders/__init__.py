"""Who answers: one responder a module, all behind the protocol in `base`."""

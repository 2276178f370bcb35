"""Money: payments taken at the desk. A room over the store; on the payment walk."""

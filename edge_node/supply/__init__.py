"""Supply: who is cut, who is restored, by which right. A room over the store; on the payment walk."""

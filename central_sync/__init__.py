"""The central hub: takes in what nodes prove, keeps the balances, hands down money, mandates and registries."""

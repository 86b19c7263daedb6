import type { Examples } from "../runner/HelpText.js"

/** Two command lines or more for the help of each command. */
export const examples: Examples = {
  nexusd: ["nexusd", "nexusd --config nexus.yaml --db nexus.db"],
  "nexusd backup": ["nexusd backup nexus-monday.db", "nexusd --db old.db backup copy.db"],
  "nexusd restore": ["nexusd restore nexus-monday.db", "nexusd --config nexus.yaml restore copy.db"],
  "nexusd check": ["nexusd check", "nexusd check --db copy.db"],
  "nexusd migrate": [
    "nexusd migrate --from ~/.local/state/nexus/nexus.db --to postgres://nexus@db.example/nexus",
    "nexusd migrate --from old.db --to new.db"
  ],
  "nexusd token": ["nexusd token new", "nexusd token new ~/lab.token"],
  "nexusd token new": ["nexusd token new", "nexusd token new ~/lab.token"],
  "nexusd install": ["nexusd install", "nexusd install --print --config ~/nexus.yaml"],
  "nexusd uninstall": ["nexusd uninstall", "systemctl --user disable --now nexus.service && nexusd uninstall"]
}

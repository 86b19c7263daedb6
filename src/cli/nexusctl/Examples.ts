import type { Examples } from "../runner/HelpText.js"

/** Two command lines or more for the help of each command. */
export const examples: Examples = {
  nexusctl: ["nexusctl vm create web --kernel vmlinux --rootfs web.ext4 --start", "nexusctl help vm create"],
  "nexusctl status": ["nexusctl status", "nexusctl status --context lab -o json"],
  "nexusctl version": ["nexusctl version", "nexusctl version -o json"],
  "nexusctl config": ["nexusctl config", "nexusctl config --context lab -o json"],
  "nexusctl doctor": ["nexusctl doctor", "nexusctl doctor --context lab -o json"],
  "nexusctl apply": [
    "nexusctl apply -f vms.yaml --dry-run",
    "nexusctl vm list --role work -o yaml | nexusctl apply -f - --prune --role work --yes"
  ],
  "nexusctl mcp": ["nexusctl mcp", "nexusctl mcp --read-only --context lab"],
  "nexusctl vm": ["nexusctl vm list", "nexusctl vm create web --start"],
  "nexusctl vm create": [
    "nexusctl vm create web --vcpu 2 --mem 2G",
    "nexusctl vm create db --role service --kernel vmlinux --rootfs db.ext4:ro --start"
  ],
  "nexusctl vm list": [
    "nexusctl vm ls --state running",
    "nexusctl vm list --role work --limit 20 -o json",
    "nexusctl vm list --watch --prefix web"
  ],
  "nexusctl vm inspect": ["nexusctl vm show web", "nexusctl vm inspect web db -o json"],
  "nexusctl vm delete": ["nexusctl vm rm web --yes", "nexusctl vm delete web db -y"],
  "nexusctl vm update": ["nexusctl vm update web db --mem 512M", "nexusctl vm update web --name shop --no-config"],
  "nexusctl vm edit": ["nexusctl vm edit web", "nexusctl vm edit 0b1f4b0e-4f4e-4c6e-9a57-0a4f6f8f7a11"],
  "nexusctl vm start": ["nexusctl vm start web", "nexusctl vm start web db --timeout 120"],
  "nexusctl vm stop": ["nexusctl vm stop web --timeout 30", "nexusctl vm stop web db --force"],
  "nexusctl vm restart": ["nexusctl vm restart web", "nexusctl vm restart web db --force"],
  "nexusctl vm wait": [
    "nexusctl vm wait web --state stopped",
    "nexusctl vm wait web --state stopped,crashed --timeout 300"
  ],
  "nexusctl vm logs": ["nexusctl vm logs web --tail 20", "nexusctl vm logs -f web"]
}

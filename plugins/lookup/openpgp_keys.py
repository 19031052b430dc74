# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lookup mde.offline.openpgp_keys: reads files with OpenPGP keys, binary ones too."""

from __future__ import annotations

DOCUMENTATION = r"""
name: openpgp_keys
author:
  - The mde.offline contributors (@mde-offline)
version_added: 0.1.0
short_description: Reads and checks OpenPGP keys in files on the controller
description:
  - Checks whether files on the controller have the OpenPGP keys that they should have, and returns public keys as
    armoured text, also from binary files, which C(ansible.builtin.file) cannot read.
  - Secret keys are checked but never returned. Use M(ansible.builtin.copy) to copy the file.
  - Relative paths are found as M(ansible.builtin.copy) finds O(ansible.builtin.copy#module:src), and files that Ansible
    Vault encrypted are decrypted.
  - The lookup needs no C(gpg). It does not check signatures, and does not judge whether a key has expired.
  - The lookup is a part of the role C(mde.offline.mirror).
options:
  _terms:
    description: Paths of files with keys, binary or armoured.
    type: list
    elements: str
    required: true
  kind:
    description:
      - The keys that each file should have. With V(public), one or more public keys and no secret key. With V(secret),
        one secret key without a passphrase.
    type: str
    choices: [public, secret]
    default: public
seealso:
  - plugin: ansible.builtin.copy
    plugin_type: module
"""

EXAMPLES = r"""
- name: Refuse files that are not public keys
  ansible.builtin.assert:
    that: not faults
    fail_msg: "{{ faults | join(' ') }}"
  vars:
    faults: "{{ query('mde.offline.openpgp_keys', 'one.gpg', 'two.asc') | map(attribute='fault') | select }}"

- name: Write a keyring
  ansible.builtin.copy:
    content: "{{ query('mde.offline.openpgp_keys', 'one.gpg', 'two.asc') | map(attribute='armored') | join }}"
    dest: /etc/mde-mirror/trusted-keys.asc
    mode: "0644"
"""

RETURN = r"""
_raw:
  description: One mapping for each file.
  type: list
  elements: dict
  contains:
    fault:
      description: A sentence that says why the file cannot be used; empty if it can be.
      type: str
      sample: mirror-one.asc is not an exported OpenPGP key. Export it (gpg --export --armor KEY-ID).
    armored:
      description: The public keys as one armoured block. Empty if there is a fault, and with O(kind=secret).
      type: str
      sample: |
        -----BEGIN PGP PUBLIC KEY BLOCK-----

        mDMEZZ...
        -----END PGP PUBLIC KEY BLOCK-----
"""

import typing as t
from pathlib import Path

from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.lookup import LookupBase
from ansible_collections.mde.offline.plugins.module_utils._mirror import openpgp


class LookupModule(LookupBase):
    def run(
        self, terms: list[t.Any], variables: dict[str, t.Any] | None = None, **kwargs: t.Any
    ) -> list[dict[str, str]]:
        self.set_options(var_options=variables, direct=kwargs)
        secret = self.get_option("kind") == "secret"
        return [self._key(str(term), secret, variables) for term in terms]

    def _key(self, path: str, secret: bool, variables: dict[str, t.Any] | None) -> dict[str, str]:
        try:
            data = self._content(path, variables)
        except (AnsibleError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error).splitlines()[0].rstrip(".")
            return {"fault": f"{path} cannot be read on the controller: {reason}.", "armored": ""}
        fault = openpgp.fault_of_secret_key(data) if secret else openpgp.fault_of_public_keys(data)
        if fault:
            return {"fault": f"{path} {fault}", "armored": ""}
        return {"fault": "", "armored": "" if secret else openpgp.armored(data)}

    def _content(self, path: str, variables: dict[str, t.Any] | None) -> bytes:
        found = self.find_file_in_search_path(variables, "files", path, ignore_missing=True)
        if not found:
            raise AnsibleError("there is no such file")
        loader = t.cast(DataLoader, self._loader)
        # This also decrypts files of Ansible Vault, into a temporary file.
        real = loader.get_real_file(found)
        try:
            return Path(real).read_bytes()
        finally:
            loader.cleanup_tmp_file(real)

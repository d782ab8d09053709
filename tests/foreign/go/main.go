// Checklog checks a log of Grace with Go's own implementation of signed notes and transparency logs.
//
//	checklog -vkey FILE receipt FILE...
//	checklog -vkey FILE bundle DIRECTORY...
//	checklog -vkey FILE log URL|DIRECTORY [NOTED...]
//	checklog -vkey FILE inclusion CHECKPOINT PROOF ENTRY
//	checklog -vkey FILE consistency OLD NEW PROOF
//
// What is read from the log is parsed here; every hash, proof, tile and signature is checked by
// golang.org/x/mod/sumdb/note and golang.org/x/mod/sumdb/tlog. "log" reads the tiles of the log as it is served, or a
// copy of them; each NOTED file is a checkpoint which somebody kept, and the log must have grown from it. With
// -entries it reads the entries too, which asks for permission (-header). "inclusion" and "consistency" take the
// proofs that the API gives as JSON. It exits with 0 when everything holds and with 1 when something does not.
package main

import (
	"bufio"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	tileHeight = 8 // https://c2sp.org/tlog-tiles
	tileWidth  = 1 << tileHeight
	// An inclusion proof for every leaf of a large log says nothing that its tiles have not said already.
	maxProofs = 1000
)

func main() {
	vkey := flag.String("vkey", "", "`file` with the log's key, from a source you trust")
	entries := flag.Bool("entries", false, "log: read the entries as well as their hashes")
	header := flag.String("header", "", "log: a `header` to send, such as 'Cookie: sessionid=...'")
	flag.Parse()
	held, err := check(*vkey, *entries, *header, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "DOES NOT HOLD:", err)
		os.Exit(1)
	}
	fmt.Println("holds:", held)
}

func check(vkey string, entries bool, header string, args []string) (string, error) {
	text, err := os.ReadFile(vkey)
	if err != nil {
		return "", err
	}
	key, err := note.NewVerifier(strings.TrimSpace(string(text)))
	if err != nil {
		return "", err
	}
	switch {
	case len(args) > 1 && args[0] == "receipt":
		return each(key, args[1:], checkReceipt)
	case len(args) > 1 && args[0] == "bundle":
		return each(key, args[1:], checkBundle)
	case len(args) > 1 && args[0] == "log":
		return checkLog(key, &served{base: args[1], header: header}, entries, args[2:])
	case len(args) == 4 && args[0] == "inclusion":
		return checkInclusion(key, args[1], args[2], args[3])
	case len(args) == 4 && args[0] == "consistency":
		return checkConsistency(key, args[1], args[2], args[3])
	}
	return "", errors.New("see the head of this program for how it is called")
}

// each checks all of these; the error names every one that does not hold.
func each(key note.Verifier, paths []string, check func(note.Verifier, string) (string, error)) (string, error) {
	var held, wrong []string
	for _, path := range paths {
		if said, err := check(key, path); err != nil {
			wrong = append(wrong, fmt.Sprintf("%s: %v", path, err))
		} else {
			held = append(held, said)
		}
	}
	if len(wrong) > 0 {
		return "", errors.New(strings.Join(wrong, "\n"))
	}
	return strings.Join(held, "\n"), nil
}

// open gives what a checkpoint says, once its signature is good.
func open(key note.Verifier, signed []byte) (tlog.Tree, error) {
	opened, err := note.Open(signed, note.VerifierList(key))
	if err != nil {
		return tlog.Tree{}, err
	}
	origin, rest, _ := strings.Cut(opened.Text, "\n")
	if origin != key.Name() {
		return tlog.Tree{}, fmt.Errorf("a checkpoint of %q, not of %q", origin, key.Name())
	}
	// Go's checksum database writes its name where others write their origin; the rest is the same.
	return tlog.ParseTree([]byte("go.sum database tree\n" + rest))
}

func openFile(key note.Verifier, path string) (tlog.Tree, error) {
	signed, err := os.ReadFile(path)
	if err != nil {
		return tlog.Tree{}, err
	}
	return open(key, signed)
}

// --- receipts ------------------------------------------------------------------------------------------------------

// checkReceipt checks a file as https://c2sp.org/tlog-proof describes it; its extra data are the entry.
func checkReceipt(key note.Verifier, path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	head, signed, _ := strings.Cut(string(text), "\n\n")
	lines := strings.Split(head, "\n")
	if len(lines) < 3 || lines[0] != "c2sp.org/tlog-proof@v1" {
		return "", errors.New("not a receipt")
	}
	entry, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(lines[1], "extra "))
	if err != nil {
		return "", err
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[2], "index "), 10, 64)
	if err != nil {
		return "", err
	}
	var proof tlog.RecordProof
	for _, line := range lines[3:] {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return "", err
		}
		proof = append(proof, hash)
	}
	tree, err := open(key, []byte(signed))
	if err != nil {
		return "", err
	}
	if err := tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(entry)); err != nil {
		return "", err
	}
	return fmt.Sprintf("entry %d, in a log of %d", index, tree.N), nil
}

// --- proofs of the API ---------------------------------------------------------------------------------------------

type proof struct {
	Index  int64       `json:"index"`
	Old    int64       `json:"old"`
	Size   int64       `json:"size"`
	Hashes []tlog.Hash `json:"hashes"`
}

func readProof(path string) (proof, error) {
	var answer struct {
		Data proof `json:"data"`
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return proof{}, err
	}
	err = json.Unmarshal(text, &answer)
	return answer.Data, err
}

func checkInclusion(key note.Verifier, checkpoint, proof, entry string) (string, error) {
	tree, err := openFile(key, checkpoint)
	if err != nil {
		return "", err
	}
	given, err := readProof(proof)
	if err != nil {
		return "", err
	}
	raw, err := os.ReadFile(entry)
	if err != nil {
		return "", err
	}
	if err := tlog.CheckRecord(given.Hashes, tree.N, tree.Hash, given.Index, tlog.RecordHash(raw)); err != nil {
		return "", err
	}
	return fmt.Sprintf("entry %d of %d", given.Index, tree.N), nil
}

func checkConsistency(key note.Verifier, earlier, later, proof string) (string, error) {
	before, err := openFile(key, earlier)
	if err != nil {
		return "", err
	}
	after, err := openFile(key, later)
	if err != nil {
		return "", err
	}
	given, err := readProof(proof)
	if err != nil {
		return "", err
	}
	if err := tlog.CheckTree(given.Hashes, after.N, after.Hash, before.N, before.Hash); err != nil {
		return "", err
	}
	return fmt.Sprintf("the log of %d grew from that of %d", after.N, before.N), nil
}

// --- bundles -------------------------------------------------------------------------------------------------------

func checkBundle(key note.Verifier, directory string) (string, error) {
	lines, err := readLines(filepath.Join(directory, "entries.jsonl"))
	if err != nil {
		return "", err
	}
	trees, err := readCheckpoints(key, filepath.Join(directory, "checkpoints.jsonl"))
	if err != nil {
		return "", err
	}
	last := trees[len(trees)-1]
	if _, err := os.Stat(filepath.Join(directory, "proofs.jsonl")); err == nil {
		return checkSubset(directory, lines, last)
	}
	if int64(len(lines)) != last.N {
		return "", fmt.Errorf("%d entries are here; %d were signed", len(lines), last.N)
	}
	stored, err := storedHashes(lines)
	if err != nil {
		return "", err
	}
	if err := grewFrom(last, stored, trees); err != nil {
		return "", err
	}
	return fmt.Sprintf("all %d entries of the log, and %d checkpoints", last.N, len(trees)), nil
}

func checkSubset(directory string, entries [][]byte, tree tlog.Tree) (string, error) {
	proofs, err := readLines(filepath.Join(directory, "proofs.jsonl"))
	if err != nil {
		return "", err
	}
	if len(proofs) != len(entries) {
		return "", fmt.Errorf("%d entries, %d proofs", len(entries), len(proofs))
	}
	for line, text := range proofs {
		var given proof
		if err := json.Unmarshal(text, &given); err != nil {
			return "", err
		}
		hash := tlog.RecordHash(entries[line])
		if err := tlog.CheckRecord(given.Hashes, tree.N, tree.Hash, given.Index, hash); err != nil {
			return "", fmt.Errorf("line %d: %w", line+1, err)
		}
	}
	return fmt.Sprintf("a SUBSET: %d entries proved in a log of %d", len(entries), tree.N), nil
}

func readCheckpoints(key note.Verifier, path string) ([]tlog.Tree, error) {
	lines, err := readLines(path)
	if err != nil {
		return nil, err
	}
	if len(lines) == 0 {
		return nil, errors.New("nothing was signed")
	}
	var trees []tlog.Tree
	for _, line := range lines {
		var signed string
		if err := json.Unmarshal(line, &signed); err != nil {
			return nil, err
		}
		tree, err := open(key, []byte(signed))
		if err != nil {
			return nil, err
		}
		trees = append(trees, tree)
	}
	return trees, nil
}

// storedHashes gives every hash of the tree over these entries.
func storedHashes(entries [][]byte) (tlog.HashReader, error) {
	var hashes []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		found := make([]tlog.Hash, 0, len(indexes))
		for _, index := range indexes {
			if index >= int64(len(hashes)) {
				return nil, fmt.Errorf("there are only %d entries", len(entries))
			}
			found = append(found, hashes[index])
		}
		return found, nil
	})
	for number, entry := range entries {
		more, err := tlog.StoredHashes(int64(number), entry, reader)
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, more...)
	}
	return reader, nil
}

func readLines(path string) ([][]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var lines [][]byte
	scanner := bufio.NewScanner(file)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		lines = append(lines, append([]byte(nil), scanner.Bytes()...))
	}
	return lines, scanner.Err()
}

// grewFrom checks the whole tree, and that each of the earlier ones is its beginning.
func grewFrom(tree tlog.Tree, hashes tlog.HashReader, earlier []tlog.Tree) error {
	if tree.N == 0 {
		return errors.New("an empty log proves nothing")
	}
	root, err := tlog.TreeHash(tree.N, hashes)
	if err != nil {
		return err
	}
	if root != tree.Hash {
		return fmt.Errorf("the root of %d entries is %v; %v was signed", tree.N, root, tree.Hash)
	}
	for _, old := range earlier {
		if old.N == 0 {
			continue
		}
		if old.N > tree.N {
			return fmt.Errorf("the log has %d entries, and once had %d", tree.N, old.N)
		}
		proof, err := tlog.ProveTree(tree.N, old.N, hashes)
		if err != nil {
			return err
		}
		if err := tlog.CheckTree(proof, tree.N, tree.Hash, old.N, old.Hash); err != nil {
			return fmt.Errorf("did not grow from the log of %d: %w", old.N, err)
		}
	}
	return nil
}

// --- the log as it is served ---------------------------------------------------------------------------------------

// served reads tiles from an address or a directory, each once. tlog.TileHashReader checks them against the root.
type served struct {
	base, header string
	read         map[string][]byte
}

func (s *served) Height() int { return tileHeight }

func (s *served) SaveTiles([]tlog.Tile, [][]byte) {}

func (s *served) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	found := make([][]byte, 0, len(tiles))
	for _, tile := range tiles {
		data, err := s.get(tilePath(tile))
		if err != nil {
			return nil, err
		}
		found = append(found, data)
	}
	return found, nil
}

// tilePath is a tile's name in C2SP's form, which leaves out the height and calls data what it is.
func tilePath(tile tlog.Tile) string {
	path := strings.TrimPrefix(tile.Path(), fmt.Sprintf("tile/%d/", tileHeight))
	return "tile/" + strings.Replace(path, "data/", "entries/", 1)
}

func (s *served) get(path string) ([]byte, error) {
	if data, ok := s.read[path]; ok {
		return data, nil
	}
	data, err := s.fetch(path)
	if err != nil {
		return nil, err
	}
	if s.read == nil {
		s.read = make(map[string][]byte)
	}
	s.read[path] = data
	return data, nil
}

func (s *served) fetch(path string) ([]byte, error) {
	if !strings.HasPrefix(s.base, "https://") && !strings.HasPrefix(s.base, "http://") {
		return os.ReadFile(filepath.Join(s.base, filepath.FromSlash(path)))
	}
	request, err := http.NewRequest(http.MethodGet, strings.TrimSuffix(s.base, "/")+"/"+path, nil)
	if err != nil {
		return nil, err
	}
	if name, value, ok := strings.Cut(s.header, ":"); ok {
		request.Header.Set(name, strings.TrimSpace(value))
	}
	client := http.Client{Timeout: 30 * time.Second}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", path, response.Status)
	}
	return io.ReadAll(response.Body)
}

func checkLog(key note.Verifier, from *served, entries bool, noted []string) (string, error) {
	signed, err := from.get("checkpoint")
	if err != nil {
		return "", err
	}
	tree, err := open(key, signed)
	if err != nil {
		return "", err
	}
	var earlier []tlog.Tree
	for _, path := range noted {
		old, err := openFile(key, path)
		if err != nil {
			return "", fmt.Errorf("%s: %w", path, err)
		}
		earlier = append(earlier, old)
	}
	hashes := tlog.TileHashReader(tree, from)
	if err := grewFrom(tree, hashes, earlier); err != nil {
		return "", err
	}
	leaves, err := checkLeaves(tree, hashes)
	if err != nil {
		return "", err
	}
	held := fmt.Sprintf("%d hashes, and %d checkpoints noted earlier", tree.N, len(earlier))
	if entries {
		held = fmt.Sprintf("%d entries, and %d checkpoints noted earlier", tree.N, len(earlier))
		err = checkEntries(from, leaves)
	}
	return held, err
}

// checkLeaves reads every tile, and proves leaves all over the log; it returns the leaves' hashes.
func checkLeaves(tree tlog.Tree, hashes tlog.HashReader) ([]tlog.Hash, error) {
	indexes := make([]int64, tree.N)
	for number := range indexes {
		indexes[number] = tlog.StoredHashIndex(0, int64(number))
	}
	leaves, err := hashes.ReadHashes(indexes)
	if err != nil {
		return nil, err
	}
	step := tree.N/maxProofs + 1
	for number := int64(0); number < tree.N; number += step {
		proof, err := tlog.ProveRecord(tree.N, number, hashes)
		if err != nil {
			return nil, err
		}
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, number, leaves[number]); err != nil {
			return nil, err
		}
	}
	return leaves, nil
}

// checkEntries hashes the entries in the bundles of https://c2sp.org/tlog-tiles: each after its length as two bytes.
func checkEntries(from *served, leaves []tlog.Hash) error {
	for first := 0; first < len(leaves); first += tileWidth {
		width := len(leaves) - first
		if width > tileWidth {
			width = tileWidth
		}
		data, err := from.get(tilePath(tlog.Tile{H: tileHeight, L: -1, N: int64(first / tileWidth), W: width}))
		if err != nil {
			return err
		}
		for number := first; number < first+width; number++ {
			if len(data) < 2 || len(data) < 2+int(binary.BigEndian.Uint16(data)) {
				return fmt.Errorf("the entries end before entry %d", number)
			}
			end := 2 + int(binary.BigEndian.Uint16(data))
			if tlog.RecordHash(data[2:end]) != leaves[number] {
				return fmt.Errorf("entry %d is not the one that was signed", number)
			}
			data = data[end:]
		}
		if len(data) > 0 {
			return fmt.Errorf("something stands behind entry %d", first+width-1)
		}
	}
	return nil
}
